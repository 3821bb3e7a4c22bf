"""Report of a bench: JSON for programs, a table for people."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.table import Table

from hawk.bench.measure import BenchRow
from hawk.decoding.grid import Grid

SHARES = ("draft", "target", "verify", "rest")
ROUNDED = (
    "tokens_per_forward",
    "seconds_per_image",
    "speedup_over_plain",
    "speedup_over_transformers",
)


@dataclass(frozen=True, kw_only=True)
class BenchReport:
    """A bench.

    Attributes:
        rows: Rows of contenders by batch size; the first of each batch size is plain decoding.
        settings: Settings that the numbers depend on: model, dtype, sampler.
        machine, versions: Machine and packages of the measurement.
        grid: Grid of the images.
    """

    rows: Sequence[BenchRow]
    settings: Mapping[str, Any]
    machine: Mapping[str, Any]
    versions: Mapping[str, str]
    grid: Grid

    def to_json(self) -> dict[str, Any]:
        """The report for JSON: `rows` to compare, and `details` that explain them in order."""
        return {
            "rows": [_numbers(row) for row in self.rows],
            "machine": self.machine,
            "versions": self.versions,
            "settings": self.settings,
            "details": [
                {"images": row.images} | (asdict(row.drafting) if row.drafting else {})
                for row in self.rows
            ],
        }


def _numbers(row: BenchRow) -> dict[str, Any]:
    found = asdict(row)
    del found["drafting"], found["images"]
    for name in ROUNDED:
        found[name] = None if found[name] is None else round(found[name], 4)
    return found


def table(report: BenchReport) -> Table:
    """The report for people."""
    settings = report.settings
    title = (
        f"{settings['model']} ({settings['dtype']}, guidance {settings['guidance']:g}) on "
        f"{report.machine['device']}, {report.machine['threads']} threads"
    )
    shown = Table(
        *("batch", "drafter", "rule", "s / image", "over plain", "over transformers"),
        *("tokens / forward", "nodes", "as plain", "draft", "target", "verify", "rest", "MB"),
        title=title,
    )
    for row in report.rows:
        if row.drafter == "plain":
            shown.add_section()
        shown.add_row(*cells(row))
    return shown


def cells(row: BenchRow) -> list[str]:
    """Cells of a row of the table."""
    return [
        str(row.batch),
        row.drafter,
        row.rule or "",
        f"{row.seconds_per_image:.3f}",
        times(row.speedup_over_plain),
        times(row.speedup_over_transformers),
        f"{row.tokens_per_forward:.2f}",
        *drafting_cells(row),
        "" if row.peak_memory_mb is None else str(row.peak_memory_mb),
    ]


def times(speedup: float | None) -> str:
    return "" if speedup is None else f"{speedup:.2f}x"


def drafting_cells(row: BenchRow) -> list[str]:
    """Cells of a contender's drafts: nodes, images as by plain decoding, shares of the time."""
    drafting = row.drafting
    if drafting is None:
        return [""] * (2 + len(SHARES))
    return [
        f"{drafting.nodes_per_forward:.1f}" if row.nodes is None else f"{row.nodes} forced",
        f"{drafting.identical_to_plain} of {row.images}",
        *(f"{drafting.shares[name]:.0%}" for name in SHARES),
    ]


def name(row: BenchRow) -> str:
    """Short name of a contender, without the default rule and without free tree sizes."""
    parts = [row.drafter]
    if row.rule not in (None, "coupled"):
        parts.append(row.rule)
    if row.nodes is not None:
        parts.append(f"{row.nodes} nodes")
    return ", ".join(parts)
