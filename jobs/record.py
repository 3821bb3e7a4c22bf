"""Recording of images for drafters to learn from, by many processes: Ray Data over shards."""

from collections.abc import Callable, Sequence
from typing import Any

import torch

from hawk.pipeline import resolve_device
from hawk.targets import load_target
from hawk.targets.base import Target
from hawk.training.corpus import Shard
from jobs.batch.cluster import connected
from jobs.batch.settings import Workers


def record(
    target: Target,
    todo: Sequence[Shard],
    each: Callable[[int], object],
    *,
    model: str,
    workers: int,
    device: str,
) -> None:
    """As `hawk.training.corpus.record`, each worker with a target of its own.

    Args:
        target: of the caller; it is not sent anywhere.
        todo: shards on a disk that all workers see.
        each: called with the number of images of each shard.
        model, device: the target, for workers to load it.
        workers: how many, on `RAY_ADDRESS` or a Ray of our own on this machine.
    """
    gpus = float(target.device.type == "cuda")
    pool = Workers(least=workers, most=workers, gpus=gpus)
    with connected(None, pool):
        import ray.data

        ray.data.DataContext.get_current().enable_progress_bars = False
        rows = ray.data.from_items([{"shard": place} for place in range(len(todo))])
        made = rows.repartition(len(todo)).map_batches(
            _Recorder,
            fn_constructor_kwargs={"model": model, "device": device, "todo": list(todo)},
            compute=ray.data.ActorPoolStrategy(size=min(workers, len(todo))),
            batch_size=1,
            num_cpus=pool.cpus,
            num_gpus=pool.gpus or None,
        )
        for row in made.iter_rows():
            each(len(todo[row["shard"]].requests))


class _Recorder:
    """Makes a shard after the other."""

    def __init__(self, *, model: str, device: str, todo: Sequence[Shard]) -> None:
        self._target = load_target(model, dtype=torch.float32, device=resolve_device(device))
        self._todo = todo

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        for place in batch["shard"]:
            self._todo[place].write(self._target)
        return batch
