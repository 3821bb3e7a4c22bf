"""Connection: a Ray to run on, our own on this machine or one that is there already."""

import contextlib
import logging
import os
import secrets
import signal
import threading
from collections.abc import Generator

OBJECT_STORE_BYTES = 256 * 2**20  # what passes through it are prompts, tokens and pictures
LOCAL_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # as it will be; without it Ray warns
}


@contextlib.contextmanager
def connected(address: str | None, *, cpus: float) -> Generator[None, None, None]:
    """Ray while the block runs; one that was connected before stays so.

    Without an address, and none in `RAY_ADDRESS`, that is a Ray of our own on this machine, with
    `cpus` CPUs or as many as there are; it ends with the block. What imports Ray is to be imported
    in the block: Ray reads its environment then.
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
        ray.init(
            address="local",
            num_cpus=max(os.cpu_count() or 1, int(cpus)),
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
