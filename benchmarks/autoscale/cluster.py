"""FakeCluster: a Ray whose autoscaler starts further Ray nodes on this machine, as a cloud would.

The real autoscaler (v2) decides; Ray's fake provider starts a raylet where AWS would start a
machine. Nodes have as many GPUs as they say: nothing looks for hardware.
"""

import contextlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.ports import free_port

ROOT = Path(__file__).parents[2]
HEAD_ID = "f" * 51 + "00000"  # what the fake provider takes the head for
HEAD_TYPE = "ray.head.default"
PROVIDER = "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider"
STORE_BYTES = 100 * 2**20  # of a node's object store
START_S = 120.0
END_S = 10.0
LOOPBACK = {  # for heads and drivers; Ray reads it when it is imported
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_AUTH_MODE": "token",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
}
HEAD = {
    "AUTOSCALER_UPDATE_INTERVAL_S": "1",
    "RAY_CLOUD_INSTANCE_ID": HEAD_ID,
    "RAY_FAKE_CLUSTER": "1",
    "RAY_health_check_failure_threshold": "5",  # a lost node is noticed soon
    "RAY_health_check_period_ms": "500",
    "RAY_OVERRIDE_NODE_ID_FOR_TESTING": HEAD_ID,
    "RAY_enable_autoscaler_v2": "1",
}


@dataclass(frozen=True, kw_only=True)
class NodeType:
    """A kind of node that may be started.

    Attributes:
        cpus, gpus: of each.
        most: how many at the same time.
    """

    cpus: int
    gpus: int
    most: int


class FakeCluster:
    """A head without CPUs or GPUs, and nodes as they are asked for. A context manager.

    Args:
        types: by name.
        idle_s: how long a node has nothing to do before it leaves.

    Attributes:
        address: HOST:PORT for `ray.init`, while it runs.

    Sets the environment that Ray reads when it is imported: be first.
    """

    def __init__(self, types: Mapping[str, NodeType], *, idle_s: float) -> None:
        for name, value in (LOOPBACK | {"RAY_AUTH_TOKEN": secrets.token_hex(32)}).items():
            os.environ.setdefault(name, value)
        self.address = f"127.0.0.1:{free_port()}"
        self._folder = Path(tempfile.mkdtemp(prefix="hawk-ray-", dir="/tmp"))  # sockets: be short
        self._log = self._folder / "head.log"
        self._config = self._folder / "cluster.json"  # YAML too
        self._config.write_text(json.dumps(_config(types, idle_s, self.address)))
        self._head: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "FakeCluster":
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def kill_node(self, node_id: str) -> None:
        """End a node at once, without a word to the others: as when a spot machine is taken."""
        for pid, command in _processes():
            if Path(command[0]).name == "raylet" and any(node_id in part for part in command):
                os.kill(pid, signal.SIGKILL)
                return
        raise ValueError(f"no raylet of node {node_id} runs here")

    def stop(self) -> None:
        """End all of it: the head first, so that nothing is started anew, then what is left."""
        if self._head is not None:
            self._head.terminate()
            try:
                self._head.wait(END_S)
            except subprocess.TimeoutExpired:
                self._head.kill()
                self._head.wait()
        give_up = time.monotonic() + END_S
        while (left := self._own()) and time.monotonic() < give_up:
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.1)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _own(self) -> set[int]:
        """Processes that have our folder on their command line, and all below them."""
        parents = dict(_parents())
        own = {pid for pid, command in _processes() if str(self._folder) in " ".join(command)}
        while new := {pid for pid, parent in parents.items() if parent in own} - own:
            own |= new
        return own - {os.getpid()}

    def _start(self) -> None:
        port = self.address.rpartition(":")[2]
        command = [
            *(str(Path(sys.executable).parent / "ray"), "start", "--head", "--block"),
            *(f"--port={port}", "--node-ip-address=127.0.0.1"),
            *("--num-cpus=0", "--num-gpus=0", f"--object-store-memory={STORE_BYTES}"),
            *("--include-dashboard=false", "--disable-usage-stats"),
            *(f"--ray-client-server-port={free_port()}", "--dashboard-agent-listen-port=0"),
            *(f"--autoscaling-config={self._config}", f"--temp-dir={self._folder}"),
        ]
        path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
        with self._log.open("wb") as log:
            self._head = subprocess.Popen(
                command,
                env=os.environ | HEAD | {"PYTHONPATH": path},
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        give_up = time.monotonic() + START_S
        while "Ray runtime started" not in self._log.read_text():
            if self._head.poll() is not None or time.monotonic() > give_up:
                raise RuntimeError(f"the head did not start: {self._log.read_text()[-2000:]}")
            time.sleep(0.1)


def _config(types: Mapping[str, NodeType], idle_s: float, address: str) -> dict[str, object]:
    """What `ray up` would write for a head; all is spelled out, for want of defaults."""
    lists = (
        "cluster_synced_files", "head_setup_commands", "head_start_ray_commands",
        "initialization_commands", "rsync_exclude", "rsync_filter", "setup_commands",
        "worker_setup_commands", "worker_start_ray_commands",
    )  # fmt: skip
    workers = {
        name: {
            "resources": {
                "CPU": of.cpus,
                "GPU": of.gpus,
                "object_store_memory": STORE_BYTES,
            },
            "node_config": {},
            "min_workers": 0,
            "max_workers": of.most,
        }
        for name, of in types.items()
    }
    head = {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0}
    config: dict[str, object] = {
        "cluster_name": "fake",
        "provider": {
            "type": "external",
            "module": PROVIDER,
            "gcs_address": address,
            "head_node_id": HEAD_ID,
            "launch_multiple": True,
            "disable_node_updaters": True,  # raylets need no SSH and no set-up
        },
        "available_node_types": workers | {HEAD_TYPE: head},
        "head_node_type": HEAD_TYPE,
        "max_workers": sum(of.most for of in types.values()),
        "idle_timeout_minutes": idle_s / 60,
        "upscaling_speed": 1.0,
        "auth": {},
        "file_mounts": {},
        "file_mounts_sync_continuously": False,
    }
    return config | {name: [] for name in lists}


def _processes() -> Iterator[tuple[int, list[str]]]:
    """Number and command line of every process of this machine."""
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it may end while we look
            if words := entry.read_bytes().decode(errors="replace").split("\0"):
                yield int(entry.parent.name), words


def _parents() -> Iterator[tuple[int, int]]:
    """Every process and its parent."""
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            after_name = entry.read_text(errors="replace").rpartition(")")[2].split()
            yield int(entry.parent.name), int(after_name[1])
