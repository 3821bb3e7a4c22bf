"""Presence: runs at work in a folder, so that none throws away what another is making.

Every run keeps a small file in the folder while it works and touches it now and then. It needs no
locks, so it holds on every disk and on S3: a run writes its own file, then looks for others. Of two
that begin at once at least one sees the other.
"""

import contextlib
import json
import os
import platform
import re
import threading
import time
import uuid
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from hawk.storage import layout
from hawk.storage.folder import Folder, StorageError

BEAT_S = 20.0
STALE_S = 180.0  # a run that was not heard of for so long is dead
MARK = re.compile(r"run-[0-9a-f]{12}\.json")


@dataclass(frozen=True, kw_only=True)
class Mark:
    """A run, as others see it.

    Attributes:
        host, pid: Machine and process of the run, for people.
        machine: Boot and process space in which `pid` means something; "" where that is unknown.
        born: Start of the process, in ticks of that machine.
        begun: Start of the run, for people.
        clears: True while it throws away what the folder held.
    """

    host: str
    pid: int
    machine: str
    born: str
    begun: str
    clears: bool

    @property
    def dead(self) -> bool:
        """Whether its process is gone, as far as this machine can tell."""
        return bool(self.machine) and self.machine == _machine() and self.born != _born(self.pid)

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}, since {self.begun}"


class Presence:
    """A run at work in a folder, from entering to leaving. A context manager.

    ValueError where another one is at work and this one would clear the folder, or the other way.

    Args:
        clears: True where this run begins by throwing away what the folder holds; see `cleared`.
    """

    def __init__(self, folder: Folder, *, clears: bool) -> None:
        self._folder = folder
        self._name = f"run-{uuid.uuid4().hex[:12]}.json"
        self._mark = Mark(
            host=platform.node(),
            pid=os.getpid(),
            machine=_machine(),
            born=_born(os.getpid()),
            begun=time.strftime("%Y-%m-%d %H:%M:%S %Z"),
            clears=clears,
        )
        self._left = threading.Event()
        self._beats = threading.Thread(target=self._beat, name="presence", daemon=True)

    def __enter__(self) -> "Presence":
        self._tell()
        try:
            self._refuse_others()
        except BaseException:
            self._leave()
            raise
        self._beats.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._left.set()
        self._beats.join()
        self._leave()

    def cleared(self) -> None:
        """The folder is empty: others may join."""
        self._mark = replace(self._mark, clears=False)
        self._tell()

    def _refuse_others(self) -> None:
        names = self._folder.files(layout.SIDE)
        now = max(info.mtime_ns for info in names.values())  # by the clock of the storage
        for name, info in names.items():
            if name == self._name or not MARK.fullmatch(name):
                continue
            mark = self._read(name)
            silent_s = (now - info.mtime_ns) / 1e9
            if mark is None or mark.dead or silent_s > STALE_S:
                with contextlib.suppress(OSError):  # another run may have been faster
                    self._folder.delete(f"{layout.SIDE}/{name}")
            elif self._mark.clears or mark.clears:
                what = "is clearing" if mark.clears else "is at work in"
                raise ValueError(
                    f"another run {what} {self._folder.url} ({mark}): end it first, or give "
                    f"another folder; one that was killed is forgotten in "
                    f"{STALE_S - silent_s:.0f} s"
                )

    def _read(self, name: str) -> Mark | None:
        try:
            found: Any = json.loads(self._folder.read(f"{layout.SIDE}/{name}"))
            return Mark(**found)
        except (OSError, ValueError, TypeError):
            return None  # it has just ended

    def _tell(self) -> None:
        data = json.dumps(asdict(self._mark)).encode()
        self._folder.write(f"{layout.SIDE}/{self._name}", data)

    def _beat(self) -> None:
        while not self._left.wait(BEAT_S):
            with contextlib.suppress(StorageError):  # the next one may arrive
                self._tell()

    def _leave(self) -> None:
        with contextlib.suppress(OSError):
            self._folder.delete(f"{layout.SIDE}/{self._name}")
        self._folder.drop(layout.SIDE)


def _machine() -> str:
    """This boot of this machine and this space of process numbers; "" where there is no /proc."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"  # noqa: PTH115  # not a path
    except OSError:
        return ""


def _born(pid: int) -> str:
    """Start of a process in ticks since boot; "" where there is none."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    state, *fields = text.rpartition(")")[2].split()
    return "" if state in "ZX" else fields[18]  # a process that ended waits to be collected
