"""Cluster: a Ray for the workers of a job, and what it has."""

from contextlib import AbstractContextManager

from hawk.cluster import connection
from jobs.batch.settings import Workers


def connected(address: str | None, workers: Workers) -> AbstractContextManager[None]:
    """Ray while the block runs, see there, with enough CPUs for the workers and the driver."""
    placement = workers.placement()
    cpus = workers.cpus if placement is None else placement.cpus
    return connection.connected(address, cpus=workers.most * cpus + 1)


def resources(workers: Workers) -> str:
    """What a worker asks for and the cluster has, in words."""
    import ray

    total, free = ray.cluster_resources(), ray.available_resources()
    placement = workers.placement()
    size = f"{workers.cpus:g} CPU and {workers.gpus:g} GPU"
    return (
        f"a worker takes {size if placement is None else placement.describe()}; the cluster has "
        + " and ".join(
            f"{total.get(kind, 0):g} {kind}, {free.get(kind, 0):g} free" for kind in ("CPU", "GPU")
        )
    )
