"""Plot of a training: loss, and acceptance on held-out images."""

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hawk.training.distillation import TOPS


def draw(log: Path, path: Path) -> bool:
    """Draw the log of a `DrafterTrainer`; False, without a plot, where matplotlib is not installed.

    Of a log that several runs wrote, the last entry of every step counts.
    """
    if find_spec("matplotlib") is None:
        return False
    from matplotlib.figure import Figure

    entries = [json.loads(line) for line in log.read_text().splitlines()]
    losses = {entry["step"]: entry["loss"] for entry in entries if "loss" in entry}
    acceptance = [entry["acceptance"] for entry in entries if "acceptance" in entry][-1]
    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot(list(losses), list(losses.values()), linewidth=0.8)
    left.set(xlabel="batches", ylabel="loss, nats a cell")
    for source, shares in acceptance.items():
        _by_distance(right, source, shares["by_distance"])
    right.set(
        xlabel="distance, steps or rows", ylabel="share of cells, held-out images", ylim=(0, 1)
    )
    right.legend(fontsize=7)
    for axes in (left, right):
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=100)
    return True


def _by_distance(axes: Any, source: str, shares: list[list[float]]) -> None:
    """The true token is the first guess (line), or among the first of them (dashes)."""
    distance = range(1, len(shares) + 1)
    [line] = axes.plot(distance, [share[0] for share in shares], marker=".", label=source)
    axes.plot(
        distance,
        [share[-1] for share in shares],
        linestyle="--",
        color=line.get_color(),
        label=f"{source}, best {TOPS[-1]}",
    )
