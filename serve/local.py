"""Local: the whole service on this machine, until a signal ends it."""

import logging
import os
import secrets
import signal
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from importlib import import_module

from serve.config import LOOPBACK, ServeConfig
from serve.keys import VARIABLE, Keys

APP = "hawk"
CONTROLLER = "SERVE_CONTROLLER_ACTOR"  # as Serve names it
QUIET = {"log_level": "WARNING"}
ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "token",
    # Where the model has all cores busy; Serve would kill its proxy after 5 and 10 seconds.
    "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "60",
    "RAY_SERVE_PROXY_HEALTH_CHECK_TIMEOUT_S": "60",
    # A node asks for its own object store before that is there, and would wait for a second.
    "RAY_raylet_client_connect_timeout_milliseconds": "20",
    "RAY_raylet_client_num_connect_attempts": "500",  # as many seconds as without these two
    # Without a dashboard nobody reads Ray's own metrics and history. What its processes do while
    # nothing happens takes time from a model that has all cores busy.
    "RAY_enable_metrics_collection": "0",
    "RAY_task_events_report_interval_ms": "0",
    "REPORTER_UPDATE_INTERVAL_MS": "60000",
    "RAY_SERVE_METRICS_EXPORT_INTERVAL_MS": "5000",
    "RAY_SERVE_CONTROL_LOOP_INTERVAL_S": "0.3",
}
STORE_BYTES = 200_000_000  # of Ray's object store: pictures pass through it, nothing stays


def run(config: ServeConfig, ready: Callable[[str], None]) -> None:
    """Serve until SIGINT or SIGTERM; then finish what runs. `ready` is told the address.

    ValueError where strangers could come in, before anything is started.
    """
    config = guarded(config)
    refuse_taken(config)
    start_ray(config)
    # Ray has put its own handler there, which ends the process on the spot.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        ready(start(config))
        threading.Event().wait()
    except KeyboardInterrupt:
        pass
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
    return config.model_copy(update={"keys": "open"})


def refuse_taken(config: ServeConfig) -> None:
    """OSError where the address cannot be listened on, before anything is started."""
    http = config.http
    family = socket.AF_INET6 if ":" in http.host else socket.AF_INET
    try:
        socket.create_server((http.host, http.port), family=family).close()
    except OSError as error:
        raise OSError(
            f"no listening on {http.host}:{http.port} ({error.strerror}): give another --port"
        ) from error


def start_ray(config: ServeConfig) -> None:
    """A Ray of our own, on loopback, which no other user of the machine can talk to."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))  # else a file in the home folder
    import ray  # reads those when it is imported

    # `start` needs it, and Ray's own processes take seconds to come up.
    threading.Thread(target=import_module, args=["serve.app"]).start()
    replicas = config.replicas
    cpus = replicas.cpus if replicas.pair is None else replicas.pair.cpus
    ray.init(
        address="local",
        num_cpus=max(1, round(cpus * replicas.ceiling)),
        include_dashboard=False,
        object_store_memory=STORE_BYTES,
        log_to_driver=False,
        logging_level=logging.ERROR,
        _node_ip_address="127.0.0.1",
    )


def start(config: ServeConfig) -> str:
    """Start the service on a Ray that runs, or put it in place of one there; returns its address.

    Serve waits for its proxy before it lets replicas start, and for replicas before it is done; the
    proxy comes up in a thread, so that the model loads meanwhile.
    """
    from ray import serve

    from serve.app import build_app

    host, port = config.http.host, config.http.port
    http = {"host": host, "port": port}
    with ThreadPoolExecutor(max_workers=1) as threads:
        proxy = threads.submit(serve.start, http_options=http, logging_config=QUIET)
        _wait_for_controller(proxy)
        serve.run(build_app(config), name=APP, logging_config=QUIET)
        proxy.result()
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def _wait_for_controller(starting: Future[None]) -> None:
    """Until `serve.run` would find the controller that is starting, not begin one of its own."""
    import ray

    while not starting.done():
        try:
            ray.get_actor(CONTROLLER, namespace="serve")
        except ValueError:
            time.sleep(0.05)
        else:
            return


def end() -> None:
    """Finish what runs, then stop Serve and Ray."""
    import ray
    from ray import serve

    serve.delete(APP)  # waits for requests in flight
    serve.shutdown()
    ray.shutdown()
