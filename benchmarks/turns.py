"""Turns: processes that are compared on the same cores, one running while the others stand still.

Whatever else the machine does then slows all of them alike, however long they take. Linux only.
"""

import contextlib
import multiprocessing
import os
import signal
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

ALIKE = {"RAY_worker_niceness": "0"}  # not 15: all sides have to give way alike
TURN_S = 5.0  # Ray takes a process that stands still for longer for dead


class Side:
    """A process, with all that it starts.

    Args:
        work: called there with `tell` and the arguments. It loads, calls `tell`, does what is
            measured, and calls `tell` again before it clears up.
    """

    def __init__(self, work: Callable[..., object], *arguments: Any) -> None:
        context = multiprocessing.get_context("spawn")
        self._news, there = context.Pipe(duplex=False)
        self._process = context.Process(target=_work, args=(there, work, arguments))
        self._there = there
        self.seconds = 0.0
        self.ended = False

    def load(self) -> None:
        """Start it, and stop it when it is ready."""
        self._process.start()
        self._there.close()  # so that its death is an end of file here
        self._resumed = self._hear()
        self._pause()

    def run(self, seconds: float) -> None:
        """Let it go on for so long, or to its end."""
        self._signal(signal.SIGCONT)
        self._resumed = time.monotonic()
        if self._news.poll(seconds):
            self.seconds += self._hear() - self._resumed
            self.ended = True
            self._process.join()
        else:
            self._pause()

    def end(self) -> None:
        """Whatever it does, it ends."""
        self._signal(signal.SIGCONT)
        self._process.terminate()
        self._process.join()

    def _pause(self) -> None:
        self._signal(signal.SIGSTOP)
        self.seconds += time.monotonic() - self._resumed

    def _hear(self) -> float:
        """When it reached the next point of its way. RuntimeError where it has died."""
        try:
            return self._news.recv()
        except EOFError:
            raise RuntimeError("a side of the comparison died; its own words are above") from None

    def _signal(self, number: signal.Signals) -> None:
        for pid in _family(self._process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)


def take_turns(sides: Sequence[Side]) -> list[float]:
    """Seconds of what is measured on each side, standing still left out."""
    try:
        for side in sides:
            side.load()
        while not all(side.ended for side in sides):
            for side in sides:
                if not side.ended:
                    side.run(TURN_S)
        return [side.seconds for side in sides]
    finally:
        for side in sides:
            if not side.ended:
                side.end()


def _work(there: Connection, work: Callable[..., object], arguments: Sequence[Any]) -> None:
    os.environ.update(ALIKE)
    work(lambda: there.send(time.monotonic()), *arguments)


def _family(pid: int | None) -> list[int]:
    """A process and all below it, parents first."""
    children: defaultdict[int, list[int]] = defaultdict(list)
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
            children[parent].append(int(stat.parent.name))
    found = [] if pid is None else [pid]
    for parent in found:
        found += children[parent]
    return found
