"""Report of a bench as one HTML file: its table, plots, and the JSON that they show."""

import html
import io
import json
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
from PIL import Image

from hawk.bench.bench_report import SHARES, BenchReport, cells, name
from hawk.bench.measure import BenchRow

TEMPLATE = Template(
    """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>hawk bench: $model</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; } th, td { padding: .2rem .7rem; text-align: right; }
th { border-bottom: 1px solid #888; } figure { margin: 2rem 0; } figcaption { color: #555; }
svg { max-width: 100%; height: auto; }
</style>
<h1>$model</h1>
<p>$settings</p>
<p>$machine</p>
<table>$table</table>
$figures
<script type="application/json" id="report">$json</script>
</html>
"""
)
HEADS = (
    *("batch", "drafter", "rule", "s / image", "over plain", "over transformers"),
    *("tokens / forward", "nodes", "as plain", *SHARES, "MB"),
)
INCHES = 3.0  # side of a small plot


def check_installed() -> None:
    """ValueError where the page cannot be drawn."""
    if find_spec("matplotlib") is None:
        raise ValueError("--html draws with matplotlib: pip install 'hawk-t2i[bench]'")


def write(report: BenchReport, picture: Image.Image, path: Path) -> None:
    """Write the page.

    Args:
        report: Report to show.
        picture: One of the images, under the map of accepted cells.
        path: File to write.
    """
    batches = list(dict.fromkeys(row.batch for row in report.rows))
    drafting = [row for row in report.rows if row.drafting and row.drafter != "plain"]
    figures = [
        (_speedups(report.rows, batches), "Speed-up over plain decoding, median over batches."),
        (_lengths(drafting), "Drafts accepted in a pass of an image, share of its passes."),
        (
            _cells(report, drafting, picture),
            "Share of images whose token in a cell was an accepted draft, over one of the images.",
        ),
        (
            _costs(report.rows, batches),
            "Cost of a pass by its nodes (images x tree), and the mean size that was chosen.",
        ),
        (_shares(report.rows, batches), "Where the time goes."),
    ]
    page = TEMPLATE.substitute(
        model=html.escape(str(report.settings["model"])),
        settings=html.escape(_sentence(report.settings)),
        machine=html.escape(_sentence({**report.machine, **report.versions})),
        table=_table(report.rows),
        figures="\n".join(
            f"<figure>{svg}<figcaption>{caption}</figcaption></figure>" for svg, caption in figures
        ),
        # Nothing in it may end the script.
        json=json.dumps(report.to_json()).replace("<", "\\u003c"),
    )
    path.write_text(page, encoding="utf-8")


def _sentence(facts: Any) -> str:
    return ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in facts.items())


def _table(rows: Sequence[BenchRow]) -> str:
    lines = ["".join(f"<th>{head}</th>" for head in HEADS)]
    for row in rows:
        lines.append("".join(f"<td>{html.escape(cell)}</td>" for cell in cells(row)))
    return "\n".join(f"<tr>{line}</tr>" for line in lines)


def _speedups(rows: Sequence[BenchRow], batches: Sequence[int]) -> str:
    figure, [axes] = _figure(1, width=8)
    names = list(dict.fromkeys(name(row) for row in rows))
    width = 0.8 / len(names)
    for place, shown in enumerate(names):
        found = {row.batch: row.speedup_over_plain for row in rows if name(row) == shown}
        left = [at + (place - (len(names) - 1) / 2) * width for at in range(len(batches))]
        heights = [found.get(batch, 0) for batch in batches]
        bars = axes.bar(left, heights, width, label=shown)
        axes.bar_label(bars, fmt="%.2f", fontsize=7)
    axes.axhline(1, color="black", linewidth=0.8)
    axes.set(xticks=range(len(batches)), ylabel="speed-up over plain")
    axes.set_xticklabels([f"batch {batch}" for batch in batches])
    axes.legend(fontsize=8)
    return _svg(figure)


def _lengths(rows: Sequence[BenchRow]) -> str:
    figure, [axes] = _figure(1, width=8)
    for row in rows:
        assert row.drafting is not None
        passes = row.drafting.passes_by_accepted
        shares = [count / max(sum(passes), 1) for count in passes]
        axes.plot(shares, marker="o", markersize=3, label=f"{name(row)}, batch {row.batch}")
    axes.set(xlabel="accepted drafts", ylabel="share of passes")
    if rows:
        axes.legend(fontsize=8)
    return _svg(figure)


def _cells(report: BenchReport, rows: Sequence[BenchRow], picture: Image.Image) -> str:
    figure, plots = _figure(max(len(rows), 1))
    pixels, grid = np.asarray(picture), report.grid
    extent = (0, grid.width, grid.height, 0)
    for row, axes in zip(rows, plots, strict=False):
        assert row.drafting is not None
        shares = np.array(row.drafting.accepted_by_cell_T).reshape(grid.height, grid.width)
        axes.imshow(pixels, extent=extent)
        shown = axes.imshow(shares, extent=extent, alpha=0.7, vmin=0, vmax=1, cmap="viridis")
        axes.set_title(f"{name(row)}, batch {row.batch}: {shares.mean():.2f}", fontsize=8)
        figure.colorbar(shown, ax=axes, fraction=0.046)
    return _svg(figure)


def _costs(rows: Sequence[BenchRow], batches: Sequence[int]) -> str:
    figure, plots = _figure(len(batches))
    for batch, axes in zip(batches, plots, strict=True):
        mine = [row for row in rows if row.batch == batch and row.drafting]
        for place, row in enumerate(mine):
            assert row.drafting is not None
            curve, colour = row.drafting.cost_ms, f"C{place}"
            sizes = list(curve)
            axes.plot(sizes, list(curve.values()), color=colour, marker=".", label=name(row))
            chosen = batch * row.drafting.nodes_per_forward
            cost = np.interp(chosen, sizes, list(curve.values()))
            axes.plot([chosen], [cost], color=colour, marker="*", markersize=11)
        axes.set(xlabel="nodes", ylabel="ms a pass", title=f"batch {batch}", ylim=(0, None))
        axes.set_xscale("log", base=2)
        axes.legend(fontsize=7)
    return _svg(figure)


def _shares(rows: Sequence[BenchRow], batches: Sequence[int]) -> str:
    figure, plots = _figure(len(batches))
    for batch, axes in zip(batches, plots, strict=True):
        mine = [row for row in rows if row.batch == batch and row.drafting]
        done = np.zeros(len(mine))
        for part in SHARES:
            widths = [row.drafting.shares[part] for row in mine if row.drafting]
            axes.barh([name(row) for row in mine], widths, left=done, label=part)
            done += widths
        axes.set(xlim=(0, 1), title=f"batch {batch}")
    figure.legend(*plots[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return _svg(figure)


def _figure(plots: int, width: float = INCHES) -> tuple[Any, list[Any]]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width * plots + 0.5, INCHES), layout="constrained")
    return figure, list(figure.subplots(1, plots, squeeze=False)[0])


def _svg(figure: Any) -> str:
    """SVG of a figure for HTML, without the XML declaration."""
    text = io.StringIO()
    figure.savefig(text, format="svg")
    return text.getvalue()[text.getvalue().index("<svg") :]
