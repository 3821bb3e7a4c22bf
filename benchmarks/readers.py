"""Memory of the process that speaks HTTP, while streams are read and while nobody reads them.

    python -m benchmarks.readers

The process is that of `hawk serve` without its replicas: pictures of a given size come at a given
pace from nowhere, as fast GPUs would send them. First all streams are read as they come, then as
many are left alone for a while. Told are the most memory that each took, and what stayed.
"""

import argparse
import asyncio
import contextlib
import json
import socket
import subprocess
import sys
import time
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.ports import free_port
from hawk.serving.config import check_config
from hawk.serving.events import Message
from hawk.serving.messages import Admitted, Card, Done, ImageJob, Partial

ROWS = 16
ROOM_BYTES = 4096  # of a reader's socket: what does not fit waits in the service
PIECE_BYTES = 2**20
START_S, ANSWER_S, LOOK_S = 60.0, 600.0, 0.2
CALM_S = 5.0  # after which what can be given back was
CONFIG = check_config({"keys": "open"}, "settings")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", type=int, default=16)
    parser.add_argument("-n", type=int, default=10, help="images of each")
    parser.add_argument("--picture-kb", type=int, default=100)
    parser.add_argument("--row-seconds", type=float, default=0.5, help="between two pictures")
    parser.add_argument("--seconds", type=float, default=35.0, help="that nobody reads")
    parser.add_argument("--serve", type=int, metavar="PORT", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.serve is not None:
        serve(asked.serve, asked.picture_kb * 1000, asked.row_seconds)
        return
    port = free_port()
    options = ["--picture-kb", str(asked.picture_kb), "--row-seconds", str(asked.row_seconds)]
    command = [sys.executable, "-m", "benchmarks.readers", "--serve", str(port), *options]
    with subprocess.Popen(command) as process:
        try:
            await_port(port)
            took = measure(process.pid, port, asked)
        finally:
            process.terminate()
    shown = {name: value for name, value in vars(asked).items() if name != "serve"}
    print(json.dumps(shown | {"megabytes": took}))  # noqa: T201 its result


def measure(pid: int, port: int, asked: argparse.Namespace) -> dict[str, float]:
    """Megabytes of a process at rest, at most, and after all."""
    took = {"at_rest": resident_mb(pid)}
    for name, reads in (("read", True), ("left_alone", False)):
        streams = [open_stream(port, asked.n, seed, reads=reads) for seed in range(asked.streams)]
        with ThreadPoolExecutor(asked.streams) as threads:
            reading = [threads.submit(read, stream) for stream in streams if reads]
            until, most = time.monotonic() + (0 if reads else asked.seconds), 0.0
            while time.monotonic() < until or not all(one.done() for one in reading):
                most = max(most, resident_mb(pid))
                time.sleep(LOOK_S)
        for stream in streams:
            stream.close()
        time.sleep(CALM_S)
        took |= {f"{name}_most": most, f"{name}_after": resident_mb(pid)}
        took |= {"sent": sum(one.result() for one in reading)} if reads else {}
    return took


def resident_mb(pid: int) -> float:
    """Memory of a process that is in use."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1000 for line in lines if line.startswith("VmRSS"))


def await_port(port: int) -> None:
    give_up = time.monotonic() + START_S
    while time.monotonic() < give_up:
        with contextlib.suppress(ConnectionError), socket.create_connection(("127.0.0.1", port)):
            return
        time.sleep(LOOK_S)
    raise RuntimeError(f"no service came up within {START_S:g} s; its own words are above")


def open_stream(port: int, images: int, seed: int, *, reads: bool) -> socket.socket:
    """A request for pictures whose answer has yet to be read."""
    stream = socket.socket()
    if not reads:
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, ROOM_BYTES)
    stream.settimeout(ANSWER_S)
    stream.connect(("127.0.0.1", port))
    asked = {"prompt": "a red apple", "n": images, "seed": seed, "stream": True, "every_row": True}
    body = json.dumps(asked)
    head = (
        f"POST /v1/images/generations HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    stream.sendall(f"{head}{body}".encode())
    return stream


def read(stream: socket.socket) -> float:
    """Megabytes of an answer. RuntimeError where it is an error."""
    first = stream.recv(PIECE_BYTES)
    if not first.startswith(b"HTTP/1.1 200 "):
        raise RuntimeError(f"a stream was refused: {first.decode()}")
    size = len(first)
    while piece := stream.recv(PIECE_BYTES):
        size += len(piece)
    return size / 1e6


class FromNowhere:
    """A backend whose pictures are as large as asked, and no pictures."""

    def __init__(self, picture_bytes: int, row_s: float) -> None:
        self._picture_bytes, self._row_s = picture_bytes, row_s

    async def card(self) -> Card:
        return Card(
            model="nothing",
            width=1024,
            height=1024,
            columns=ROWS,
            rows=ROWS,
            drafters=("plain",),
            rule="coupled",
            exact=True,
            created=0,
            settings=CONFIG.fingerprint,
        )

    async def image(self, job: ImageJob) -> AsyncGenerator[Message]:
        yield Admitted(prompt_tokens=1)
        for row in range(min(job.parts, ROWS - 1)):
            await asyncio.sleep(self._row_s)
            yield Partial(place=row, picture=self._picture(), commits=[1])
        yield Done(picture=self._picture(), tokens_sha256="", tokens=ROWS, commits=[1], seconds=1.0)

    async def metrics(self) -> dict[str, str]:
        return {}

    def _picture(self) -> bytes:
        return b"x" * self._picture_bytes


def serve(port: int, picture_bytes: int, row_s: float) -> None:
    """Until SIGTERM."""
    import uvicorn

    from hawk.serving.http_server import settings
    from hawk.serving.ingress import build_api
    from hawk.serving.keys import Keys
    from hawk.serving.service import Service

    service = Service(FromNowhere(picture_bytes, row_s), CONFIG, Keys(""))
    uvicorn.Server(settings(build_api(service), port=port, log_level="error")).run()


if __name__ == "__main__":
    main()
