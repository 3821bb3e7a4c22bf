"""Processes that a command has started, as /proc has them."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")


@dataclass(frozen=True, kw_only=True)
class Process:
    """A process that runs.

    Attributes:
        born: ticks since boot; tells it from a later one of the same number.
        command: its arguments, with spaces between them.
    """

    pid: int
    parent: int
    born: int
    command: str

    @property
    def is_there(self) -> bool:
        found = _read(PROC / str(self.pid))
        return found is not None and found.born == self.born


def below(pid: int) -> list[Process]:
    """All that a process, and those that it has started, have started."""
    return list(_below(pid, _all()))


def _all() -> list[Process]:
    folders = PROC.glob("[0-9]*")
    return [process for folder in folders if (process := _read(folder)) is not None]


def _below(pid: int, processes: list[Process]) -> Iterator[Process]:
    for process in processes:
        if process.parent == pid:
            yield process
            yield from _below(process.pid, processes)


def _read(folder: Path) -> Process | None:
    """None of one that is gone, or has ended and is a zombie."""
    try:
        state, parent, *fields = (folder / "stat").read_text().rpartition(")")[2].split()
        command = (folder / "cmdline").read_text(errors="replace").replace("\0", " ")
    except OSError:
        return None
    if state == "Z":
        return None
    return Process(pid=int(folder.name), parent=int(parent), born=int(fields[17]), command=command)
