"""Bench of placements: the same drafter in the target's process and in one of its own.

Both make the same batches of images in turn, on the same CPUs or GPUs in all, and must come to the
same tokens. A ratio is the median over batches, so that a drift of the machine falls on both.
"""

import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from rich.table import Table

from hawk.cluster.pair import SpeculativePair
from hawk.cluster.placement import Placement
from hawk.cluster.timeline import Round, breakdown, means
from hawk.decoding.request import Request
from hawk.decoding.stats import Stats
from hawk.pictures import Result
from hawk.pipeline import Pipeline
from hawk.settings import DraftSettings, ModelSettings

Track = Callable[[Sequence[list[Request]]], Iterable[list[Request]]]


def load_and_run(
    model: ModelSettings,
    drafting: DraftSettings,
    where: Placement,
    plan: Callable[[Pipeline], list[Request]],
    *,
    track: Track,
) -> tuple[dict[str, Any], list[Round]]:
    """Report of `run` for these settings. ValueError where they are wrong.

    Args:
        model, drafting: Settings of both.
        where: Placement of the pair; the colocated pipeline gets as many CPUs in all.
        plan: Function that makes the requests; the first batch, as many as there are slots, only
            warms up.
        track: Function that shows progress over the batches.
    """
    torch.set_num_threads(max(1, int(where.cpus)))
    colocated = Pipeline.load(model, drafting)
    requests = plan(colocated)
    slots, images = model.slots, len(requests)
    if images < 2 * slots:
        raise ValueError(f"images must be at least twice the {slots} slots, got {images}")
    batches = [requests[at : at + slots] for at in range(0, images, slots)]
    with SpeculativePair(model, drafting, where) as pair:
        return run(colocated, pair, track(batches))


def run(
    colocated: Pipeline, pair: SpeculativePair, batches: Iterable[Sequence[Request]]
) -> tuple[dict[str, Any], list[Round]]:
    """Make every batch by both.

    Returns:
        the report, and the rounds of the pair's first target in the last batch.
    """
    seconds: dict[str, list[float]] = {"colocated": [], "pair": []}
    stats = {"colocated": Stats(), "pair": Stats()}
    rounds: list[Round] = []
    last: list[Round] = []
    identical = images = 0
    for place, batch in enumerate(batches):
        made: dict[str, Result] = {}
        for name, maker in (("colocated", colocated), ("pair", pair)):
            started = time.perf_counter()
            made[name] = maker.run(batch)
            if place:  # the first batch pays for set-up
                seconds[name].append(time.perf_counter() - started)
                stats[name] += made[name].stats
        each = pair.rounds()
        last = each[0]
        if place:
            rounds += [at for of_target in each for at in of_target]
        images += len(batch)
        identical += sum(
            a.tokens == b.tokens
            for a, b in zip(made["colocated"].pictures, made["pair"].pictures, strict=True)
        )
    return {
        "model": colocated.target.name,
        "device": str(colocated.target.device),
        "drafter": colocated.drafter,
        "slots": colocated.slots,
        "threads": torch.get_num_threads(),
        "images": images,
        "identical": identical,
        "placements": {
            "colocated": _entry(seconds, "colocated", stats) | _breakdown(stats["colocated"]),
            "pair": _entry(seconds, "pair", stats)
            | breakdown(rounds)
            | {key: value for key, value in pair.summary().items() if key != "round"},
        },
    }, last


def _entry(
    seconds: Mapping[str, Sequence[float]], name: str, stats: Mapping[str, Stats]
) -> dict[str, Any]:
    ratios = [a / b for a, b in zip(seconds["colocated"], seconds[name], strict=True)]
    return {
        "images_per_second": round(stats[name].images / sum(seconds[name]), 4),
        "speed_up_over_colocated": round(statistics.median(ratios), 3),
        "tokens_per_forward": round(stats[name].tokens_per_forward, 3),
        "nodes_per_forward": round(stats[name].nodes_per_forward, 2),
    }


def _breakdown(stats: Stats) -> dict[str, float]:
    """Breakdown of rounds in one process, where nothing is sent or waited for."""
    verify_s = stats.forward_s + stats.verify_s
    seconds = {"draft": stats.draft_s, "transfer": 0.0, "wait": 0.0, "verify": verify_s}
    return means(seconds, stats.passes, whole=sum(seconds.values()))


def table(report: Mapping[str, Any]) -> Table:
    """The report for people."""
    title = "{model} on {device} with {drafter}, {images} images, {slots} at a time".format(
        **report
    )
    heads = ("", "images / s", "speed-up", "tokens / forward", "round", "draft", "transfer")
    shown = Table(*heads, "wait", "verify", title=title)
    for name, entry in report["placements"].items():
        shown.add_row(
            name,
            f"{entry['images_per_second']:.3f}",
            f"{entry['speed_up_over_colocated']:.2f}x",
            f"{entry['tokens_per_forward']:.2f}",
            *(
                f"{entry[f'{part}_ms']:.2f} ms"
                for part in ("round", "draft", "transfer", "wait", "verify")
            ),
        )
    return shown
