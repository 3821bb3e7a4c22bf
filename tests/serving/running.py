"""Running: a service in a process of its own, as tests see it: by its port and by its processes."""

import asyncio
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml

from benchmarks.ports import free_port
from benchmarks.processes import Process, below
from hawk.serving.messages import ImageJob

KEY = "k" * 32
PROMPT = "a red apple"
WAIT_S = 120
JOB = ImageJob(
    prompt="a",
    negative_prompt=None,
    seed=7,
    guidance=None,
    temperature=None,
    top_k=None,
    top_p=None,
    drafter="plain",
    streamed=True,
    parts=3,
    format="png",
    quality=None,
    deadline_s=60,
)
# As /proc/net has them: a state, 127.0.0.1 (alone or mapped into IPv6), ::1.
LISTEN, LOOPBACK, LOOPBACK_6 = "0A", "0100007F", "00000000000000000000000001000000"


@dataclass
class Running:
    """A service in a process of its own, started with the settings in `file`."""

    process: subprocess.Popen[str]
    url: str
    file: Path

    @property
    def headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {KEY}"}

    def post(self, **body: Any) -> httpx.Response:
        return httpx.post(
            f"{self.url}/v1/images/generations",
            json={"prompt": PROMPT} | body,
            headers=self.headers,
            timeout=WAIT_S,
        )

    def metric(self, name: str, label: str = "") -> list[float]:
        """The values of a metric, one a replica; where a label is given, of those that have it."""
        page = httpx.get(f"{self.url}/metrics", headers=self.headers, timeout=WAIT_S).text
        lines = [line for line in page.splitlines() if line.startswith(name + "{")]
        return [float(line.rsplit(" ", 1)[1]) for line in lines if label in line]

    def replicas(self) -> list[int]:
        """Process ids of model replicas, of this service only."""
        replica = "ServeReplica:hawk:Model"
        return [process.pid for process in self.processes() if replica in process.command]

    def open_to_others(self) -> list[str]:
        """Commands of its processes that listen on more than loopback."""
        return [
            process.command
            for process in self.processes()
            for host, _ in _takes(process.pid)
            if not host.endswith(LOOPBACK) and host != LOOPBACK_6
        ]

    def replica_ports(self) -> list[int]:
        """Ports that its model replicas listen on."""
        return [port for pid in self.replicas() for _, port in _takes(pid)]

    def ray_address(self) -> str:
        """Of the Ray that it runs on."""
        commands = "".join(process.command for process in self.processes())
        found = re.search(r"--gcs-address=(\S+)", commands)
        assert found is not None, "it has no Ray"
        return found[1]

    def processes(self) -> list[Process]:
        """All that it has started."""
        return below(self.process.pid)


def _sockets(pid: int) -> set[str]:
    """Inodes of a process's sockets."""
    links = [str(file.readlink()) for file in Path(f"/proc/{pid}/fd").iterdir()]
    return {link[len("socket:[") : -1] for link in links if link.startswith("socket:[")}


def _takes(pid: int) -> list[tuple[str, int]]:
    """Host and port of what a process listens on."""
    sockets, listening = _sockets(pid), _listening(pid)
    return [listening[inode] for inode in sockets & set(listening)]


def _listening(pid: int) -> dict[str, tuple[str, int]]:
    """Host, as /proc has it, and port of each socket that takes connections, in its network."""
    found: dict[str, tuple[str, int]] = {}
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            _, address, _, state, *_, inode = line.split()[:10]
            host, port = address.split(":")
            if state == LISTEN:
                found[inode] = host, int(port, 16)
    return found


def settings(folder: Path, *, slots: int, waiting: int, replicas: dict[str, Any]) -> dict[str, Any]:
    """Of a service of the tiny model on a free port, quick to grow and to shrink."""
    port = free_port()
    return {
        "http": {"port": port},
        "model": {
            "name": str(folder),
            "served_as": "tiny",
            "drafters": ["jacobi", "plain"],
            "slots": slots,
            "waiting": waiting,
        },
        "replicas": {"up_delay_s": 1, "down_delay_s": 5, "cpus": 0.5} | replicas,
    }


@contextlib.contextmanager
def running(
    command: list[str], config: dict[str, Any], folder: Path, **environment: str
) -> Iterator[Running]:
    """What Python makes of a command and a file of settings behind it, until SIGTERM; its first
    line on stdout is JSON and has the address."""
    file, complaints = folder / "serve.yaml", folder / "stderr"
    file.write_text(yaml.safe_dump(config))
    with (
        complaints.open("w") as stderr,
        subprocess.Popen(
            [sys.executable, *command, str(file)],
            env=os.environ | {"HAWK_API_KEYS": KEY} | environment,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        ) as process,
    ):
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, complaints.read_text()
        yield Running(process=process, url=json.loads(line)["url"], file=file)
        process.send_signal(signal.SIGTERM)


def eventually(true: Callable[[], bool], what: str) -> None:
    give_up = time.monotonic() + WAIT_S
    while not true():
        assert time.monotonic() < give_up, f"not within {WAIT_S} s: {what}"
        time.sleep(0.2)


def crowd(service: Running, seeds: list[int], **body: Any) -> list[tuple[int, httpx.Response]]:
    """Requests all at once, with their seeds."""

    async def all_of_them() -> list[httpx.Response]:
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(
            headers=service.headers, timeout=WAIT_S, limits=limits
        ) as client:
            url = f"{service.url}/v1/images/generations"
            asked = [{"prompt": PROMPT, "seed": seed} | body for seed in seeds]
            return await asyncio.gather(*(client.post(url, json=one) for one in asked))

    return list(zip(seeds, asyncio.run(all_of_them()), strict=True))


def fingerprint(response: httpx.Response) -> str:
    return response.json()["data"][0]["hawk"]["tokens_sha256"]
