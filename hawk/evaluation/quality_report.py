"""Report of an evaluation: JSON for programs, a table and remarks for people."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.table import Table

from hawk.decoding.sampler import SamplerConfig
from hawk.evaluation.judge import Quality

HEADS = ("guidance", "drafter", "rule", "tokens / forward", "s / image", "as plain")
MEASURES = {
    "frechet": "Frechet",
    "concept_at_1": "concept @1",
    "concept_at_5": "concept @5",
    "group": "group",
    "style": "style",
}


@dataclass(frozen=True, kw_only=True)
class QualityRow:
    """A method at one guidance.

    Attributes:
        guidance: Guidance scale.
        drafter: Name of the drafter.
        rule: Name of the rule.
        exact: True where its images have the law of the model.
        images: Number of images that were judged.
        tokens_per_forward: Mean tokens of a forward.
        seconds_per_image: Seconds of an image, with all slots in use.
        compared_with_plain: Number of images that plain decoding made too.
        same_as_plain: Number of these that have the tokens of plain decoding.
        measured: True where the images of this row were judged; else an earlier method at this
            guidance made the same images, token for token, and the quality is theirs.
        quality: Quality of the images.
    """

    guidance: float
    drafter: str
    rule: str
    exact: bool
    images: int
    tokens_per_forward: float
    seconds_per_image: float
    compared_with_plain: int
    same_as_plain: int
    measured: bool
    quality: Quality

    @property
    def identical(self) -> bool:
        """True where every image that was compared has the tokens of plain decoding."""
        return 0 < self.compared_with_plain == self.same_as_plain


@dataclass(frozen=True, kw_only=True)
class QualityReport:
    """An evaluation.

    Attributes:
        rows: Rows of the methods.
        real: Quality of the real images of the prompts: the floor of the Frechet distance and the
            ceiling of the shares.
        model: Name of the model.
        sampler: Sampler settings of all images; None where each may have had its own.
        machine, versions: Machine and packages of the measurement.
    """

    rows: Sequence[QualityRow]
    real: Quality
    model: str
    sampler: SamplerConfig | None
    machine: Mapping[str, Any]
    versions: Mapping[str, str]

    def to_json(self) -> dict[str, Any]:
        return {
            "rows": [asdict(row) | {"quality": _rounded(row.quality)} for row in self.rows],
            "real": _rounded(self.real),
            "model": self.model,
            "sampler": self.sampler and asdict(self.sampler),
            "machine": self.machine,
            "versions": self.versions,
        }


def _rounded(quality: Quality) -> dict[str, float]:
    return {name: round(value, 3) for name, value in asdict(quality).items()}


def table(report: QualityReport) -> Table:
    """Table with a row for each method, and a last one for the real images."""
    shown = Table(*HEADS, *MEASURES.values(), title=report.model)
    for row in report.rows:
        shown.add_row(
            f"{row.guidance:g}",
            row.drafter,
            row.rule,
            f"{row.tokens_per_forward:.2f}",
            f"{row.seconds_per_image:.2f}",
            f"{row.same_as_plain} of {row.compared_with_plain}",
            *(_cells(row.quality) if row.measured else ["the same images"]),
        )
    shown.add_section()
    shown.add_row("", "real images", *[""] * 4, *_cells(report.real))
    return shown


def remarks(report: QualityReport) -> list[str]:
    """Remarks on the table, one sentence each."""
    images = min(row.images for row in report.rows)
    found = [
        f"{images} images a row, so one standard error of a share is up to "
        f"{(0.25 / images) ** 0.5:.3f}; real images show the floor of the Frechet distance and "
        "the ceiling of the shares"
    ]
    if same := [
        f"{row.drafter} by {row.rule}" for row in report.rows if row.exact and row.identical
    ]:
        found.append(
            f"{', '.join(dict.fromkeys(same))}: tokens identical to plain decoding, "
            "so the quality is the model's own"
        )
    return found


def _cells(quality: Quality) -> list[str]:
    return [f"{getattr(quality, name):.3f}" for name in MEASURES]
