"""Recording of images for drafters to learn from, by many processes: Ray actors over shards."""

from collections.abc import Callable, Sequence
from typing import Any

from hawk.batch.cluster import connected
from hawk.batch.settings import Workers
from hawk.decoding.target import Target
from hawk.devices import resolve_device, resolve_dtype
from hawk.targets import load_target
from hawk.training.corpus import Shard


def record(  # noqa: PLR0913  # what a worker loads
    target: Target,
    todo: Sequence[Shard],
    each: Callable[[int], object],
    *,
    model: str,
    workers: int,
    device: str,
    dtype: str,
) -> None:
    """As `hawk.training.corpus.record`, each worker with a target of its own.

    Args:
        target: of the caller; it is not sent anywhere.
        todo: shards on a disk that all workers see.
        each: called with the number of images of each shard.
        model, device, dtype: the target, for workers to load it.
        workers: how many, on `RAY_ADDRESS` or a Ray of our own on this machine.
    """
    gpus = float(target.device.type == "cuda")
    pool = Workers(least=workers, most=workers, gpus=gpus)
    with connected(None, pool):
        import ray
        from ray.util import ActorPool

        actor: Any = ray.remote(num_cpus=pool.cpus, num_gpus=pool.gpus)(_Recorder)
        hands = [
            actor.remote(model=model, device=device, dtype=dtype)
            for _ in range(min(workers, len(todo)))
        ]
        # Not Ray Data: its own tasks wait for a CPU for ever where recorders have taken them all.
        made: Any = ActorPool(hands).map_unordered(
            lambda hand, shard: hand.write.remote(shard), list(todo)
        )
        for images in made:
            each(images)


class _Recorder:
    """Makes a shard after the other."""

    def __init__(self, *, model: str, device: str, dtype: str) -> None:
        place = resolve_device(device)
        self._target = load_target(model, dtype=resolve_dtype(dtype, place), device=place)

    def write(self, shard: Shard) -> int:
        """Returns the number of images."""
        shard.write(self._target)
        return len(shard.requests)
