"""Cluster: a Ray to run on, our own on this machine or one that is there already."""

import contextlib
import logging
import os
import secrets
import signal
import threading
from collections.abc import Generator
from typing import Any

from jobs.batch.settings import Workers

OBJECT_STORE_BYTES = 256 * 2**20  # what passes through it are prompts
LOCAL_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # as it will be; without it Ray warns
}


@contextlib.contextmanager
def connected(address: str | None, workers: Workers) -> Generator[None, None, None]:
    """Ray while the block runs; one that was connected before stays so.

    Without an address, and none in `RAY_ADDRESS`, that is a Ray of our own on this machine, with
    enough CPUs for the workers; it ends with the block.
    """
    for name, value in LOCAL_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    address = address or os.environ.get("RAY_ADDRESS")
    if address is None and "RAY_AUTH_TOKEN" not in os.environ:
        os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secrets.token_hex(32))
    import ray

    if ray.is_initialized():
        yield
        return
    on_term = signal.getsignal(signal.SIGTERM)
    if address is None:
        cpus = max(os.cpu_count() or 1, int(workers.most * workers.cpus + 1))
        ray.init(
            address="local",
            num_cpus=cpus,
            include_dashboard=False,
            object_store_memory=OBJECT_STORE_BYTES,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    else:
        try:
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
        except (ConnectionError, RuntimeError) as error:
            raise RuntimeError(f"no Ray cluster answers at {address}: {error}") from error
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, on_term)  # Ray has put its own in place
    try:
        yield
    finally:
        ray.shutdown()


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
    asked = {"CPU": workers.cpus, "GPU": workers.gpus}
    worker = {kind: amount for kind, amount in asked.items() if amount}
    refused = status.autoscaling_state.infeasible_resource_requests
    return sum(dict(request.resources_bundle) == worker for request in refused)
