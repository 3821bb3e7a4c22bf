"""Cluster: a Ray for the workers of a job, and what it has."""

from contextlib import AbstractContextManager

from hawk.cluster import connection
from jobs.batch.settings import Workers


def connected(address: str | None, workers: Workers) -> AbstractContextManager[None]:
    """Ray while the block runs, see there, with enough CPUs for the workers and the driver."""
    return connection.connected(address, cpus=workers.most * workers.cpus + 1)


def resources(workers: Workers) -> str:
    """What a worker asks for and the cluster has, in words."""
    import ray

    total, free = ray.cluster_resources(), ray.available_resources()
    return (
        f"a worker takes {workers.cpus:g} CPU and {workers.gpus:g} GPU; the cluster has "
        + " and ".join(
            f"{total.get(kind, 0):g} {kind}, {free.get(kind, 0):g} free" for kind in ("CPU", "GPU")
        )
    )
