"""Local: the whole service on this machine, until a signal ends it.

This process speaks HTTP itself and calls the replicas: on one machine, Serve's own proxy and an
ingress behind it would be two more processes on every request's way; docs/serve.md has the times.
"""

import contextlib
import errno
import logging
import os
import re
import socket
import threading
import time
from collections.abc import Callable, Generator
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hawk import stop
from hawk.cluster.ray_connection import keep_to_ourselves, own_ray
from hawk.serving import ports
from hawk.serving.config import LOOPBACK, ServeConfig, check_config
from hawk.serving.keys import VARIABLE, Keys

if TYPE_CHECKING:
    from ray.serve.handle import DeploymentHandle
    from ray.serve.schema import ApplicationStatusOverview

APP = "hawk"
QUIET = {"log_level": "WARNING"}
ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # all of its ports on loopback
    # Calls of replicas past Ray's own queues take 3 ms less; they have to show the token too, which
    # a proxy that this machine uses for the rest of the world is not to see.
    "RAY_SERVE_USE_GRPC_BY_DEFAULT": "1",
    "no_grpc_proxy": ports.NODE_IP,
    # A replica's model works in a thread of its own; its calls need not cross to another one.
    "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0",
    # A node asks for its own object store before that is there, and would wait for a second.
    "RAY_raylet_client_connect_timeout_milliseconds": "20",
    "RAY_raylet_client_num_connect_attempts": "500",  # as many seconds as without these two
    # Ray keeps as many processes ready as there are CPUs. These import what Serve's controller and
    # the replicas need before they are asked to; nothing is lost where it cannot be imported.
    "RAY_preload_python_modules": "hawk.serving.app",
    # Without a dashboard nobody reads Ray's own metrics and history. What its processes do while
    # nothing happens takes time from a model that has all cores busy.
    "RAY_enable_metrics_collection": "0",
    "RAY_task_events_report_interval_ms": "0",
    "REPORTER_UPDATE_INTERVAL_MS": "60000",
    "RAY_SERVE_METRICS_EXPORT_INTERVAL_MS": "5000",
}
LOOK_S = 0.2  # between two looks at whether a replica is up
STORE_BYTES = 200_000_000  # of Ray's object store: pictures pass through it, nothing stays


def run(config: ServeConfig, ready: Callable[[str], None]) -> None:
    """Serve until SIGINT or SIGTERM; then finish what runs. `ready` is told the address.

    ValueError where strangers could come in, before anything is started.
    """
    config = guarded(config)
    with stop.stoppable() as wish, listening(config) as listener, ray_of(config):
        try:
            with stop.in_haste():
                model = start_model(config)
            ready(address(listener))
            answer(config, model, listener, wish)
        finally:
            end()


def guarded(config: ServeConfig) -> ServeConfig:
    """The settings, `open` where that is safe: on loopback, when there are no keys."""
    if Keys.of_environment(os.environ):
        return config.model_copy(update={"keys": "required"})
    if config.http.host not in LOOPBACK:
        raise ValueError(
            f"{config.http.host} can be reached by others: set {VARIABLE} to one or more keys, "
            f"comma separated (for example of `openssl rand -hex 32`), or listen on 127.0.0.1"
        )
    return check_config(config.model_dump() | {"keys": "open"}, "settings")


def listening(config: ServeConfig) -> socket.socket:
    """The address, taken before anything is started: who comes early waits. OSError where it
    cannot be."""
    http = config.http
    family = socket.AF_INET6 if ":" in http.host else socket.AF_INET
    try:
        return socket.create_server((http.host, http.port), family=family)
    except OSError as error:
        ports = (errno.EADDRINUSE, errno.EACCES)
        what = "--port" if error.errno in ports else "--host, a name or address of this machine"
        raise OSError(
            f"no listening on {http.host}:{http.port} ({error.strerror}): give another {what}"
        ) from error


@contextlib.contextmanager
def ray_of(config: ServeConfig) -> Generator[None, None, None]:
    """A Ray of our own, on loopback, which no other user of the machine can talk to."""
    keep_to_ourselves(ENVIRONMENT)
    # `start_model` needs it, and Ray's own processes take seconds to come up.
    threading.Thread(target=import_early).start()
    replicas = config.replicas
    cpus = replicas.cpus if replicas.pair is None else replicas.pair.cpus
    with own_ray(
        num_cpus=max(1, round(cpus * replicas.ceiling)),
        object_store_memory=STORE_BYTES,
        _node_ip_address=ports.NODE_IP,
    ):
        yield


def import_early() -> None:
    """What `start_model` imports, too: what goes wrong is told there, not from a thread whose
    process may be about to end."""
    with contextlib.suppress(Exception):
        import_module("hawk.serving.app")


def start_model(config: ServeConfig) -> "DeploymentHandle[Any]":
    """Model replicas on the Ray that runs, without HTTP; returns when one is up.

    ValueError where they cannot load the model as asked, RuntimeError where else they do not start.
    """
    from ray import serve

    from hawk.serving.app import build_model

    logging.getLogger("ray.serve").setLevel(QUIET["log_level"])  # of this process
    serve.start(proxy_location="Disabled", logging_config=QUIET)
    model = build_model(config, attempts=1)
    target = serve.RunTarget(model, APP, route_prefix=None, logging_config=QUIET)
    [handle] = serve.run_many([target], wait_for_applications_running=False)
    # Serve itself would look once a second.
    while not _is_up(serve.status().applications[APP]):
        stop.check()
        time.sleep(LOOK_S)
    return handle


def _is_up(app: "ApplicationStatusOverview") -> bool:
    """Whether a replica answers. ValueError or RuntimeError where one has failed to start."""
    for deployment in app.deployments.values():
        if deployment.status_trigger.value == "REPLICA_STARTUP_FAILED":
            raise cause(deployment.message)
    if app.status.value == "DEPLOY_FAILED":
        raise RuntimeError(f"no replica of the model starts: {app.message}")
    return app.status.value == "RUNNING"


def cause(trace: str) -> Exception:
    """The error at the end of a trace, which is all that Serve keeps of it."""
    begins = [found.start() for found in re.finditer(r"^[\w.]+: ", trace, re.MULTILINE)]
    error = trace[begins[-1] :].strip() if begins else trace.strip()  # of a process that was killed
    words = error.removeprefix("ValueError: ")
    return RuntimeError(error) if words == error else ValueError(words)


def address(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def answer(
    config: ServeConfig, model: "DeploymentHandle[Any]", listener: socket.socket, wish: stop.Stop
) -> None:
    """Answer requests until a signal comes, then finish those that run."""
    from hawk.serving import http_server
    from hawk.serving.app import DRAIN_S
    from hawk.serving.ingress import build_api
    from hawk.serving.remote_backend import RemoteBackend
    from hawk.serving.service import Service

    service = Service(RemoteBackend(model), config, Keys.of_environment(os.environ))
    drain_s = config.limits.seconds + DRAIN_S
    settings = http_server.settings(
        build_api(service), log_level="warning", timeout_graceful_shutdown=int(drain_s)
    )
    wish.patience_s += drain_s
    http_server.Server(settings, wish).run(sockets=[listener])
    wish.number = None  # it was granted: nothing went wrong


def end() -> None:
    """Stop Serve and Ray."""
    import ray
    from ray import serve

    serve.delete(APP)  # waits for calls in flight
    # Ray prints that Serve's controller fails, when it is Serve that ends it.
    with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):
        serve.shutdown()
        ray.shutdown()
