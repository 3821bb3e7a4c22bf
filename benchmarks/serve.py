"""What the service costs: its start, its part of one request, and its throughput.

    python -m benchmarks.serve

* cold start: from `hawk serve` to the first image in a client's hands;
* one request at a time: what it takes beyond the seconds of the engine, which the answer tells, and
  what a call of a replica takes that makes nothing. Asked over a bare connection, as a client's
  library would add a millisecond of its own;
* 16 clients at once, beside an offline pipeline with 16 slots that makes the same images. The two
  take turns on the same cores, so that both see the same machine.
"""

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from http.client import HTTPConnection
from pathlib import Path

import httpx

from benchmarks.ports import free_port
from benchmarks.turns import ALIKE, Side, take_turns

EXAMPLES = Path(__file__).parents[1] / "examples" / "prompts.txt"
START_S, ANSWER_S = 300, 3600  # a client may stand still for a while
IMAGES = "/v1/images/generations"
Tell = Callable[[], object]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="emoji")
    parser.add_argument("--requests", type=int, default=30, help="one at a time")
    parser.add_argument("--clients", type=int, default=16, help="at once")
    parser.add_argument("--images", type=int, default=160, help="of all clients together")
    asked = parser.parse_args()
    prompts = EXAMPLES.read_text().splitlines()
    prompts = [prompts[place % len(prompts)] for place in range(max(asked.images, asked.requests))]
    with service(asked.model, asked.clients) as (client, cold_start_s):
        address = client.base_url
        connection = HTTPConnection(address.host, address.port, timeout=ANSWER_S)
        overheads_s = [overhead(connection, prompt) for prompt in prompts[: asked.requests]]
        bare_s = [bare(connection) for _ in range(asked.requests)]
    settings = (prompts[: asked.images], asked.model, asked.clients)
    offline_s, served_s = take_turns([Side(offline, *settings), Side(served, *settings)])
    print(  # noqa: T201 its result
        json.dumps(
            vars(asked)
            | {
                "cold_start_seconds": round(cold_start_s, 2),
                "overhead_milliseconds": round(1000 * statistics.median(overheads_s), 2),
                "bare_call_milliseconds": round(1000 * statistics.median(bare_s), 2),
                "offline_images_per_second": round(asked.images / offline_s, 3),
                "served_images_per_second": round(asked.images / served_s, 3),
                "served_over_offline": round(offline_s / served_s, 3),
            }
        )
    )


@contextlib.contextmanager
def service(model: str, slots: int) -> Generator[tuple[httpx.Client, float], None, None]:
    """`hawk serve` in a process of its own; a client of it, and the seconds to its first image."""
    port = free_port()
    command = [sys.executable, "-c", "from hawk.cli.app import app; app()", "serve"]
    options = ["--model", model, "--slots", str(slots), "--port", str(port)]
    limits = httpx.Limits(max_connections=None)
    began = time.monotonic()
    with (
        subprocess.Popen(
            [*command, *options], env=os.environ | ALIKE, stdout=subprocess.DEVNULL
        ) as process,
        httpx.Client(
            base_url=f"http://127.0.0.1:{port}", timeout=ANSWER_S, limits=limits
        ) as client,
    ):
        try:
            while not _is_ready(client):
                if process.poll() is not None or time.monotonic() - began > START_S:
                    raise RuntimeError("hawk serve did not start; its own words are above")
                time.sleep(0.05)
            engine_seconds(client, "a red apple")
            yield client, time.monotonic() - began
        finally:
            process.terminate()


def _is_ready(client: httpx.Client) -> bool:
    with contextlib.suppress(httpx.HTTPError):
        return client.get("/healthz").is_success
    return False


def engine_seconds(client: httpx.Client, prompt: str) -> float:
    """Ask for an image; returns what it took in the engine."""
    answer = client.post(IMAGES, json=body(prompt)).raise_for_status()
    return told(answer.content)


def overhead(connection: HTTPConnection, prompt: str) -> float:
    """Seconds of a request outside of the engine."""
    asked = json.dumps(body(prompt))
    began = time.monotonic()
    answer = exchange(connection, "POST", IMAGES, asked)
    return time.monotonic() - began - told(answer)


def bare(connection: HTTPConnection) -> float:
    """Seconds of a request that goes the same way, to a replica and back, for no image."""
    began = time.monotonic()
    exchange(connection, "GET", "/healthz")
    return time.monotonic() - began


def exchange(connection: HTTPConnection, method: str, path: str, text: str | None = None) -> bytes:
    """The body of an answer. RuntimeError where it is an error."""
    connection.request(method, path, text, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    content = answer.read()
    if answer.status != HTTPStatus.OK:
        raise RuntimeError(f"{method} {path}: {answer.status} {content.decode()}")
    return content


def body(prompt: str) -> dict[str, object]:
    return {"prompt": prompt, "seed": 0}


def told(answer: bytes) -> float:
    """Seconds of the engine."""
    return json.loads(answer)["data"][0]["hawk"]["seconds"]


def served(tell: Tell, prompts: list[str], model: str, clients: int) -> None:
    """So many clients, each with one request at a time."""
    with service(model, clients) as (client, _), ThreadPoolExecutor(clients) as threads:
        tell()
        list(threads.map(lambda prompt: engine_seconds(client, prompt), prompts))
        tell()


def offline(tell: Tell, prompts: list[str], model: str, slots: int) -> None:
    """The same images without a service: tokens and pixels, no files."""
    import hawk

    pipeline = hawk.Pipeline.from_pretrained(model, slots=slots)
    pipeline("a red apple")  # as the service has done
    tell()
    pipeline(prompts)
    tell()


if __name__ == "__main__":
    main()
