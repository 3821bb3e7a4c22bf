"""Connection: a Ray to run on, our own on this machine or one that is there already."""

import contextlib
import logging
import os
import secrets
import socket
import tempfile
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any

from hawk.cluster.reaper import reaping
from hawk.stop import check, handlers_kept, held, in_haste

OBJECT_STORE_BYTES = 256 * 2**20  # what passes through it are prompts, tokens and pictures
PROBE_S = 5.0
FOLDERS = ("RAY_TMPDIR", "TMPDIR")  # where Ray looks for a folder, before it takes /tmp
ROOM_BYTES = 16 * 2**20  # of logs and sockets; without them Ray waits for half a minute
SOCKET = "ray/session_2026-12-31_23-59-59_999999_4194304/sockets/plasma_store"
SOCKET_BYTES = 107  # the longest name that a socket may have
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
    in the block: Ray reads its environment then. Signals do not break the block: what waits in it
    has to `check` for them.
    """
    address = address or os.environ.get("RAY_ADDRESS")
    if address is None:
        keep_to_ourselves(LOCAL_ENVIRONMENT)
        own = own_ray(
            num_cpus=max(os.cpu_count() or 1, int(cpus)), object_store_memory=OBJECT_STORE_BYTES
        )
    else:
        set_unless_given(LOCAL_ENVIRONMENT)
        refuse_deaf(address)
        own = _ray(address=address)
    with held():
        import ray

        with contextlib.nullcontext() if ray.is_initialized() else own:
            yield


def keep_to_ourselves(environment: Mapping[str, str]) -> None:
    """Set what Ray reads when it is imported, and a token that nobody else knows."""
    set_unless_given(environment)
    if "RAY_AUTH_TOKEN" not in os.environ:  # else Ray writes one to a file in the home folder
        os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secrets.token_hex(32))


def set_unless_given(environment: Mapping[str, str]) -> None:
    for name, value in environment.items():
        os.environ.setdefault(name, value)


@contextlib.contextmanager
def own_ray(**options: Any) -> Generator[None, None, None]:
    """A Ray of our own, by options of `ray.init`; nothing of it is left, however this ends.

    ValueError or OSError, at once, where its files have no room.
    """
    options |= {"include_dashboard": False, "_temp_dir": str(ray_folder())}
    with reaping(), held(), _ray(address="local", **options):
        yield


def ray_folder() -> Path:
    """Where Ray would put its files, by its full name. ValueError or OSError where they have no
    room there."""
    found = next((name for name in FOLDERS if os.environ.get(name)), None)
    parent = Path(os.environ[found] if found else "/tmp").absolute()
    where, advice = f"{parent} ({found or 'the default'})", "set RAY_TMPDIR to another folder"
    if (excess := len(os.fsencode(parent / SOCKET)) - SOCKET_BYTES) > 0:
        raise ValueError(
            f"{where} has a name that is {excess} bytes too long for Ray's sockets in it: {advice}"
        )
    try:
        parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=parent) as file:
            file.write(bytes(ROOM_BYTES))
    except OSError as error:
        raise OSError(
            f"{where} cannot take the {ROOM_BYTES >> 20} MiB that Ray needs for its files "
            f"({error.strerror}): make room there, or {advice}"
        ) from error
    return parent / "ray"


def refuse_deaf(address: str) -> None:
    """RuntimeError, in seconds, where nobody listens at a cluster's address: Ray would try for
    minutes. ValueError where it is that of something else."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not port.isdigit():
        if host or address != "auto":
            raise ValueError(f"a cluster's address is HOST:6379 or auto, got {address!r}")
        return
    if "/" in host:
        raise ValueError(
            f"{address} is the address of a dashboard: give the cluster's own, HOST:6379"
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=PROBE_S).close()
    except (OSError, OverflowError) as error:
        raise RuntimeError(f"no Ray cluster answers at {address}: {error}") from error


@contextlib.contextmanager
def _ray(*, address: str, **options: Any) -> Generator[None, None, None]:
    """Ray from `init` to `shutdown`. RuntimeError where none starts, or no cluster answers."""
    import ray
    from ray.exceptions import RayError

    check()  # imports take seconds, and what starts is slower to end than what has not begun
    try:
        try:
            with handlers_kept(), in_haste():
                ray.init(
                    address=address, log_to_driver=False, logging_level=logging.ERROR, **options
                )
        except (ConnectionError, RuntimeError, RayError) as error:
            ours = address == "local"
            what = "Ray does not start here" if ours else f"no Ray cluster answers at {address}"
            raise RuntimeError(f"{what}: {error}") from error
        yield
    finally:
        with handlers_kept():
            ray.shutdown()
