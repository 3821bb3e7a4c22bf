"""Train a drafter for a target: record, learn, write its folder."""

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hawk.decoding.request import Request
from hawk.decoding.target import Target
from hawk.drafters import weights
from hawk.settings import SamplerSettings
from hawk.training.corpus import Corpus, Shard, record, shards
from hawk.training.objectives import (
    CHANNELS,
    EMBEDDING,
    ContextNetworkObjective,
    HeadsObjective,
    Objective,
)
from hawk.training.requirements import Requirements
from hawk.training.trainer import DrafterTrainer

FIRST_SEED = 1_000_000  # far from the seeds of people
KINDS = ("hawk", "local", "spatial")
Recorder = Callable[[Target, Sequence[Shard], Callable[[int], object]], None]


def new_objective(kind: str, target: Target) -> Objective:
    """Objective of a kind of drafter, whose network starts from the target's own matrices."""
    if kind == "spatial":
        return HeadsObjective(target)
    _check_kind(kind)
    return ContextNetworkObjective(
        target, stale=kind == "hawk", channels=CHANNELS, embedding=EMBEDDING
    )


def _check_kind(kind: str) -> None:
    if kind not in KINDS:
        raise ValueError(f"no drafter {kind!r} to train: choose from {', '.join(KINDS)}")


def plan(
    target: Target, prompts: Sequence[str], images: int, sampling: SamplerSettings
) -> list[Request]:
    """Requests of the images to record: the prompts in turn, each with a seed of its own."""
    if images < 2:
        raise ValueError(f"images must be 2 or more, got {images}")
    if not prompts:
        raise ValueError("no prompts: give at least one")
    guidance = sampling.guidance
    return [
        Request(
            prompt=prompts[place % len(prompts)],
            seed=FIRST_SEED + place,
            guidance=target.default_guidance if guidance is None else guidance,
            sampler=target.default_sampler.override(**sampling.sampler),
            negative_prompt=sampling.negative_prompt,
        )
        for place in range(images)
    ]


@dataclass(frozen=True, kw_only=True)
class Course:
    """A drafter to train, and on what.

    Attributes:
        kind: Kind of drafter, one of `KINDS`.
        requests: Images to record, see `plan`.
        slots: Number of images in flight while they are recorded.
        steps: Number of batches to train on.
        deterministic: True where the passes that are recorded have one shape.
    """

    kind: str
    requests: Sequence[Request]
    slots: int
    steps: int
    deterministic: bool = False


def train(
    target: Target,
    course: Course,
    *,
    run: Path,
    out: Path,
    progress: Callable[[str, int], Callable[[int], object]],
    recorder: Recorder = record,
) -> dict[str, Any]:
    """Record some images, train a drafter on them, write it to `out`.

    Work that `run` already holds is not done again; shards are shared by all kinds of drafters.

    Args:
        target: Target of the drafter.
        course: Kind of drafter, images and batches.
        run: Folder of shards, checkpoints and logs, for one target and one plan.
        out: Folder of the drafter.
        progress: Function from a name and a total to a counter of steps.
        recorder: Function that makes missing shards; `record` or one that has many processes.

    Returns:
        Acceptance on held-out images; see `DrafterTrainer.validate`.
    """
    kind, requests, steps = course.kind, course.requests, course.steps
    need(target, course, run).check()
    objective = new_objective(kind, target)
    _claim(run, target, requests)
    every, todo = _shards(course, run)
    there = sum(len(shard.requests) for shard in every if shard not in todo)
    recorded = progress("recording", len(requests))
    recorded(there)
    if todo:
        recorder(target, todo, recorded)
    corpus = Corpus.load([shard.file for shard in every], target.device)
    trainer = DrafterTrainer(objective, corpus, run, steps=steps)
    acceptance = trainer.run(progress("training", steps))
    training = {
        "images": len(requests),
        "prompts": len({request.prompt for request in requests}),
        "size": [target.grid.height, target.grid.width],
        "guidance": requests[0].guidance,
        **asdict(requests[0].sampler),
        "steps": steps,
        "acceptance": {name: shares["top"] for name, shares in acceptance.items()},
    }
    weights.save(
        out, kind, target.identity, objective.module, network=objective.network, training=training
    )
    return acceptance


def need(target: Target, course: Course, run: Path) -> Requirements:
    """Requirements of `train`, given what `run` already holds. ValueError for an unknown kind."""
    _check_kind(course.kind)
    return Requirements.of(course.kind, target, _shards(course, run)[1], run)


def _shards(course: Course, run: Path) -> tuple[list[Shard], list[Shard]]:
    """All shards, and the shards that are still to be made."""
    every = shards(
        course.requests, run / "shards", course.slots, deterministic=course.deterministic
    )
    return every, [shard for shard in every if not shard.file.exists()]


def _claim(run: Path, target: Target, requests: Sequence[Request]) -> None:
    """ValueError where a run folder was made for another model or other images."""
    run.mkdir(parents=True, exist_ok=True)
    own = {
        "target_revision": target.identity.revision,
        "grid": [target.grid.height, target.grid.width],
        "requests": [asdict(request) for request in requests],
    }
    file = run / "plan.json"
    if file.exists() and json.loads(file.read_text()) != own:
        raise ValueError(f"{run} was made for another model or other images: give another --run")
    fresh = run / f"plan.{os.getpid()}.tmp"  # another kind may train on the same images beside it
    fresh.write_text(json.dumps(own))
    fresh.replace(file)
