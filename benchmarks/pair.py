"""A drafter in the target's process against one in its own, and a picture of the rounds.

    python -m benchmarks.pair --drafter my-drafter --images 48 --picture docs/pair.png

Both make the same images in turn on the same CPUs in all, see `hawk bench --placement`. The picture
is of the last batch: what drafter and target did when, lane by lane. Needs matplotlib.
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from hawk.bench.contenders import plan
from hawk.cluster.placement import Placement
from hawk.cluster.ray_connection import connected
from hawk.cluster.timeline import Round
from hawk.settings import DraftSettings, ModelSettings

SHOWN_S = 0.25
COLOURS = {"draft": "#c58b2a", "transfer": "#b03a48", "wait": "#d9d9d9", "verify": "#2f6f9f"}


def main(
    model: str = "emoji",
    drafter: str = "auto",
    images: Annotated[int, typer.Option(min=2)] = 48,
    slots: Annotated[int, typer.Option(min=1)] = 8,
    pair: Annotated[str, typer.Option(help="Parameters, as in lanes=2:target_cpus=1.")] = "",
    picture: Path | None = None,
) -> None:
    """Print one JSON object."""
    os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112  # not 15: both have to give way alike
    where = Placement.read(pair)
    with connected(None, cpus=where.cpus):
        from hawk.cluster.pair_bench import load_and_run

        report, rounds = load_and_run(
            ModelSettings(model=model, slots=slots),
            DraftSettings(drafter=drafter),
            where,
            lambda made: plan(made, images, seed=0),
            track=lambda batches: batches,
        )
    if picture is not None:
        draw(rounds, picture)
    typer.echo(json.dumps(report))


def draw(rounds: Sequence[Round], file: Path) -> None:
    """Some rounds in the middle of a run, on one clock: both processes are on one machine."""
    drafted = [at for at in rounds if at.left_s]
    begin = drafted[len(drafted) // 2].asked_s
    shown = [at for at in drafted if at.asked_s < begin + SHOWN_S and at.verified_s > begin]
    lanes = sorted({at.lane for at in shown})
    figure = Figure(figsize=(10, 1 + 0.8 * len(lanes)), layout="constrained")
    axes = figure.subplots()
    for at in shown:
        parts = {
            "draft": [(at.arrived_s, at.left_s)],
            "transfer": [(at.asked_s, at.sent_s), (at.came_s, at.unpacked_s)],
            "wait": [(at.needed_s, at.came_s)],
            "verify": [(at.unpacked_s, at.verified_s)],
        }
        for name, spans in parts.items():
            bars = [(1000 * (start - begin), 1000 * (end - start)) for start, end in spans]
            height = 3 * lanes.index(at.lane) + (0 if name == "draft" else 1)
            axes.broken_barh(bars, (height, 0.9), color=COLOURS[name])
    axes.set_yticks(
        [3 * lane + place + 0.45 for lane in range(len(lanes)) for place in (0, 1)],
        [f"lane {lane}, {who}" for lane in lanes for who in ("drafter", "target")],
    )
    axes.set_xlabel("milliseconds")
    axes.set_xlim(0, 1000 * SHOWN_S)
    handles = [Patch(color=colour, label=name) for name, colour in COLOURS.items()]
    axes.legend(handles=handles, ncols=len(handles), loc="upper center", bbox_to_anchor=(0.5, 1.25))
    figure.savefig(file, dpi=110)


if __name__ == "__main__":
    typer.run(main)
