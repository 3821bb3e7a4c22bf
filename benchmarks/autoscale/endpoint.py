"""The endpoint on a cluster that grows: load brings replicas and nodes, quiet sends both away."""

import threading
from typing import Any

import httpx
from ray import serve
from ray.serve._private.common import ReplicaState

from benchmarks.autoscale.record import Record
from benchmarks.ports import free_port
from hawk.serving.app import build_app
from hawk.serving.config import check_config
from hawk.serving.local_service import APP

CLIENTS = 3
CHANGE_S = 400.0
REQUEST_S = 240.0


def swell(record: Record, model: str) -> dict[str, Any]:
    """One replica; then three clients ask until there are two; then none, until there is one."""
    port = free_port()
    config = check_config(
        {
            "model": {"name": model, "served_as": "model", "slots": 1, "device": "cpu"},
            "replicas": {
                **{"floor": 1, "ceiling": 2, "images": 1, "up_delay_s": 2, "down_delay_s": 5},
                **{"cpus": 0.5, "gpus": 1},
            },
            "keys": "open",
        },
        "endpoint",
    )
    record.mark("the endpoint starts")
    # A proxy on every node, as is usual, would want the same port of this one machine.
    serve.start(proxy_location="HeadOnly", http_options={"host": "127.0.0.1", "port": port})
    serve.run(build_app(config), name=APP)
    url = f"http://127.0.0.1:{port}"
    quiet = threading.Event()
    clients = [
        threading.Thread(target=_ask, args=(url, number, record, quiet))
        for number in range(CLIENTS)
    ]
    try:
        record.wait(lambda: record.nodes() == 1, CHANGE_S, "a node for the first replica")
        record.mark(f"{CLIENTS} clients begin")
        for client in clients:
            client.start()
        record.wait(lambda: _replicas() == 2, CHANGE_S, "a second replica")
        grown = record.nodes()
        record.mark("a second replica serves")
        made = record.images
        record.wait(lambda: record.images >= made + CLIENTS, CHANGE_S, "images of both")
        quiet.set()
        record.mark("the clients are done")
        record.wait(lambda: _replicas() == 1, CHANGE_S, "a single replica")
        record.wait(lambda: record.nodes() == 1, CHANGE_S, "a single node")
        record.mark("one replica, one node")
        shrunk = record.nodes()
    finally:
        quiet.set()
        for client in clients:
            if client.is_alive():
                client.join()
        serve.shutdown()
    record.wait(lambda: record.nodes() == 0, CHANGE_S, "no node")
    return {
        "most_nodes": record.most_nodes(),
        "nodes_under_load": grown,
        "nodes_when_quiet": shrunk,
        "images": record.images,
        "marks": {f"{seconds:.1f}": what for seconds, what in record.marks.items()},
    }


def _replicas() -> int:
    """Model replicas that answer."""
    deployment = serve.status().applications[APP].deployments["Model"]
    return deployment.replica_states.get(ReplicaState.RUNNING, 0)


def _ask(url: str, number: int, record: Record, quiet: threading.Event) -> None:
    seed = 1000 * number
    while not quiet.is_set():
        seed += 1
        body = {"prompt": "a red apple", "seed": seed}
        answer = httpx.post(f"{url}/v1/images/generations", json=body, timeout=REQUEST_S)
        answer.raise_for_status()
        record.images += 1
