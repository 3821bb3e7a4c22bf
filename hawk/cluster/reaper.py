"""Reaper: a process that outlives a Ray of our own just long enough to clear up after it.

Ray's processes end with the one that started them, however that ends, save the agents that its
raylet starts: they wait for a cluster that is gone, and hold their ports. On Linux this process
waits at the end of a pipe whose other end only the first process holds, and kills what that has
left. Run as a script it needs Python alone, and is up in milliseconds.
"""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from pathlib import Path

PROCESSES = Path("/proc")
SCANS = 2  # without a find, one after another: a process may be between two others
PAUSE_S = 0.1
GIVE_UP_S = 30.0


@contextlib.contextmanager
def reaping() -> Generator[None, None, None]:
    """In the block, and should this process be killed in it, a Ray begun here leaves nothing."""
    if sys.platform != "linux":
        yield
        return
    command = [sys.executable, "-I", "-S", __file__, str(os.getpid())]
    # A session of its own: Ctrl-C and a terminal that closes are not for the reaper.
    with subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True):
        yield  # the end of the pipe is closed before the process is waited for


def main() -> None:
    """Wait for the end of standard input, then kill what a Ray of the given process has left."""
    ours = re.compile(rf"/session_[^/]*_{int(sys.argv[1])}(/|$)")
    born = _born(os.getpid())
    sys.stdin.buffer.read()
    until, clean = time.monotonic() + GIVE_UP_S, 0
    while clean < SCANS and time.monotonic() < until:
        left = [pid for pid in _mine() if _born(pid) >= born and _has_open(pid, ours)]
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        clean = 0 if left else clean + 1
        time.sleep(PAUSE_S)


def _mine() -> Generator[int, None, None]:
    """Other processes of this user."""
    for folder in PROCESSES.iterdir():
        with contextlib.suppress(OSError):
            if folder.name.isdigit() and folder.stat().st_uid == os.getuid():
                yield int(folder.name)


def _born(pid: int) -> int:
    """When it was started, in ticks since boot; -1 for one that is gone."""
    try:
        stat = (PROCESSES / str(pid) / "stat").read_text()
    except OSError:
        return -1
    return int(stat.rpartition(")")[2].split()[19])


def _has_open(pid: int, path: re.Pattern[str]) -> bool:
    """Whether it holds a file with such a path, as all processes of Ray hold their logs."""
    with contextlib.suppress(OSError):
        for link in (PROCESSES / str(pid) / "fd").iterdir():
            with contextlib.suppress(OSError):
                if path.search(str(link.readlink())):
                    return True
    return False


if __name__ == "__main__":
    main()
