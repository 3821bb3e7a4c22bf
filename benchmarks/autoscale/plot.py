"""Plot: demand, nodes and images over time, a panel for each scenario."""

from collections.abc import Mapping
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.autoscale.record import Record

WINDOW_S = 10.0  # over which images a second are counted
DEMAND, NODES, IMAGES = "#b0b0b0", "#1f5fa8", "#d1622b"


def draw(records: Mapping[str, Record], file: Path) -> None:
    """Write an SVG; `records` by the title of their panel."""
    matplotlib.rcParams["svg.fonttype"] = "none"  # text stays text
    figure = Figure(figsize=(9, 2.6 * len(records)), layout="constrained")
    panels = figure.subplots(len(records), squeeze=False)[:, 0]
    for panel, (title, record) in zip(panels, records.items(), strict=True):
        _panel(panel, title, record)
    panels[-1].set_xlabel("seconds")
    figure.savefig(file, metadata={"Date": None})


def _panel(panel: Axes, title: str, record: Record) -> None:
    seconds = [sample.seconds for sample in record.samples]
    demand = [sample.demand for sample in record.samples]
    gpus = [sample.gpus for sample in record.samples]
    panel.set_title(title, loc="left", fontsize=10)
    panel.fill_between(seconds, demand, step="post", color=DEMAND, label="GPUs asked for", lw=0)
    panel.step(seconds, gpus, where="post", color=NODES, label="GPUs on nodes")
    panel.set_ylabel("GPUs")
    panel.set_ylim(0, max([*demand, *gpus, 1]) * 1.35)
    rates = panel.twinx()
    rates.plot(seconds, _rates(record), color=IMAGES, lw=1, label="images/s")
    rates.set_ylabel("images/s", color=IMAGES)
    rates.set_ylim(bottom=0)
    for place, (when, what) in enumerate(record.marks.items()):
        late = when > seconds[-1] / 2
        panel.axvline(when, color="black", lw=0.5, ls=":")
        panel.annotate(
            what,
            (when, 1),
            xycoords=("data", "axes fraction"),
            xytext=(-2 if late else 2, -9 - 9 * (place % 3)),
            textcoords="offset points",
            ha="right" if late else "left",
            fontsize=7,
        )
    panel.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, frameon=False, fontsize=7)


def _rates(record: Record) -> list[float]:
    rates: list[float] = []
    first = 0
    for place, sample in enumerate(record.samples):
        while sample.seconds - record.samples[first].seconds > WINDOW_S:
            first += 1
        passed = sample.seconds - record.samples[first].seconds
        made = sample.images - record.samples[first].images
        rates.append(made / passed if place > first else 0.0)
    return rates
