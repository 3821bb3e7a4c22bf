"""Cluster: a Ray for the workers of a job, and what it has."""

from contextlib import AbstractContextManager
from typing import Any

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


def out_of_reach(workers: Workers) -> int:
    """How many of the workers that wait for room the cluster cannot grow to, by its own account.

    0 where no autoscaler looks after the cluster: nobody knows then.
    """
    import ray
    from ray._raylet import GcsClient  # pyright: ignore[reportAttributeAccessIssue]
    from ray.core.generated import autoscaler_pb2

    # Ray's own way to a status leaves out what cannot be had.
    messages: Any = autoscaler_pb2
    status = messages.GetClusterStatusReply()
    gcs = GcsClient(ray.get_runtime_context().gcs_address)
    status.ParseFromString(gcs.get_cluster_status())
    state = status.autoscaling_state
    groups = [[request] for request in state.infeasible_resource_requests]
    groups += [gang.requests for gang in state.infeasible_gang_resource_requests]
    refused = [[dict(request.resources_bundle) for request in group] for group in groups]
    return sum(_same(bundles, workers.bundles()) for bundles in refused)


def _same(bundles: list[dict[str, float]], others: list[dict[str, float]]) -> bool:
    """Whether they are the same, in any order."""
    one, two = (sorted(sorted(bundle.items()) for bundle in each) for each in (bundles, others))
    return one == two
