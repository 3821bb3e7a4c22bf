"""Capacity: the Ray that the workers of a job run on, and the resources it has."""

from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import Any

from hawk.batch.job_settings import JobSettings
from hawk.cluster import ray_connection


def connected(address: str | None, settings: JobSettings) -> AbstractContextManager[None]:
    """Ray while the block runs, see there, with enough CPUs for the workers and the driver."""
    workers, placement = settings.workers, settings.placement
    cpus = workers.cpus_per_worker if placement is None else placement.cpus
    return ray_connection.connected(address, cpus=workers.most * cpus + 1)


def resources(settings: JobSettings) -> str:
    """Resources that a worker asks for, and those of the cluster, in words."""
    import ray

    total, free = ray.cluster_resources(), ray.available_resources()
    workers, placement = settings.workers, settings.placement
    size = f"{workers.cpus_per_worker:g} CPU and {workers.gpus_per_worker:g} GPU"
    return (
        f"a worker takes {size if placement is None else placement.describe()}; the cluster has "
        + " and ".join(
            f"{total.get(kind, 0):g} {kind}, {free.get(kind, 0):g} free" for kind in ("CPU", "GPU")
        )
    )


def out_of_reach(settings: JobSettings) -> int:
    """How many of the workers that wait for room the cluster cannot grow to, by its own account.

    0 where no autoscaler looks after the cluster: nobody knows then.
    """
    import ray
    from ray._raylet import GcsClient  # pyright: ignore[reportAttributeAccessIssue]
    from ray.core.generated import autoscaler_pb2

    # Ray 2.60 has no public way: ray.util.state and ray.autoscaler.sdk tell what is asked for and
    # there, and its own parser of this message leaves out what cannot be had.
    messages: Any = autoscaler_pb2
    status = messages.GetClusterStatusReply()
    gcs = GcsClient(ray.get_runtime_context().gcs_address)
    status.ParseFromString(gcs.get_cluster_status())
    state = status.autoscaling_state
    if settings.placement is None:
        refused = [[request] for request in state.infeasible_resource_requests]
    else:
        gangs = state.infeasible_gang_resource_requests
        refused = [of.resource_requests for gang in gangs for of in gang.bundle_selectors[:1]]
    asked = _sorted(settings.bundles)
    return sum(
        _sorted(map(dict, (r.resources_bundle for r in group))) == asked for group in refused
    )


def _sorted(bundles: Iterable[dict[str, float]]) -> list[list[tuple[str, float]]]:
    """The same for the same bundles in any order."""
    return sorted(sorted(bundle.items()) for bundle in bundles)
