"""Recording of images for drafters to learn from, by many processes: Ray actors over shards."""

from collections.abc import Callable, Sequence
from typing import Any

from hawk.batch.capacity import connected
from hawk.batch.job_settings import JobSettings, WorkerSettings
from hawk.decoding.target import Target
from hawk.pipeline import Pipeline
from hawk.settings import DraftSettings, ModelSettings
from hawk.training.corpus import Shard


def record(
    target: Target,
    todo: Sequence[Shard],
    each: Callable[[int], object],
    *,
    model: ModelSettings,
    workers: int,
) -> None:
    """Record as `hawk.training.corpus.record` does, each worker with a target of its own.

    Args:
        target: Target of the caller; it is not sent anywhere.
        todo: Shards on a disk that all workers see.
        each: Function that is called with the number of images of each shard.
        model: Settings of the target, for workers to load it.
        workers: Number of processes, on `RAY_ADDRESS` or a Ray of our own on this machine.
    """
    gpus = float(target.device.type == "cuda")
    pool = WorkerSettings(workers=str(workers), gpus_per_worker=gpus)
    with connected(None, JobSettings(model=model, workers=pool)):
        import ray
        from ray.util import ActorPool

        actor: Any = ray.remote(num_cpus=pool.cpus_per_worker, num_gpus=gpus)(_Recorder)
        hands = [actor.remote(model) for _ in range(min(workers, len(todo)))]
        # Not Ray Data: its own tasks wait for a CPU for ever where recorders have taken them all.
        made: Any = ActorPool(hands).map_unordered(
            lambda hand, shard: hand.write.remote(shard), list(todo)
        )
        for images in made:
            each(images)


class _Recorder:
    """Makes a shard after the other."""

    def __init__(self, model: ModelSettings) -> None:
        self._target = Pipeline.load(model, DraftSettings(drafter="plain")).target

    def write(self, shard: Shard) -> int:
        """Returns the number of images."""
        shard.write(self._target)
        return len(shard.requests)
