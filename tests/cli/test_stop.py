"""Signals: one sentence and one exit code, whenever they come and whoever holds the handlers."""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from hawk import stop
from hawk.cluster import reaper

LIBC = ctypes.CDLL(None)
SIG_DFL = 0
WAIT_S = 60


def send(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)
    time.sleep(0.01)  # Python's handlers come between two steps


def code_of(block: Callable[[], object], advice: str = "") -> object:
    """What a block is ended with."""

    def listening() -> None:
        with stop.stoppable(advice):
            block()
            pytest.fail("it went on")

    with pytest.raises(SystemExit) as ended:
        listening()
    return ended.value.code


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_block_with_a_sentence(
    number: signal.Signals, capsys: pytest.CaptureFixture[str]
) -> None:
    before = signal.getsignal(number)
    assert code_of(lambda: send(number), "; go on") == 128 + number
    assert capsys.readouterr().err == f"hawk: stopped by {number.name}; go on\n"
    assert signal.getsignal(number) == before


def test_what_is_held_is_not_broken_and_later_signals_do_not_count() -> None:
    reached: list[str] = []

    def block() -> None:
        with stop.held(), stop.held():
            send(signal.SIGTERM)
            send(signal.SIGINT)
            reached.append("the end of what is held")
        reached.append("what follows")

    assert code_of(block) == 143
    assert reached == ["the end of what is held"]


def test_a_wait_that_looks_is_left() -> None:
    reached: list[str] = []

    def block() -> None:
        with stop.held():
            stop.check()
            reached.append("a wait without a signal")
            send(signal.SIGTERM)
            stop.check()
            reached.append("one with")

    assert code_of(block) == 143
    assert reached == ["a wait without a signal"]
    stop.check()  # nobody listens


def test_the_advice_is_that_of_the_inner_block(capsys: pytest.CaptureFixture[str]) -> None:
    def block() -> None:
        with stop.stoppable("; inner"):
            send(signal.SIGINT)

    assert code_of(block, "; outer") == 130
    assert capsys.readouterr().err == "hawk: stopped by SIGINT; inner\n"


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=WAIT_S, check=False
    )


def test_what_does_not_end_is_ended() -> None:
    done = run(
        "import os, signal, time\n"
        "from hawk import stop\n"
        "stop.PATIENCE_S = 0.1\n"
        "with stop.stoppable('; at last'), stop.held():\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    time.sleep(600)\n"
    )
    assert (done.returncode, done.stderr) == (143, "hawk: stopped by SIGTERM; at last\n")


def test_handlers_stay_ours_in_python_and_below() -> None:
    def block() -> None:
        with stop.handlers_kept():
            signal.signal(signal.SIGTERM, lambda *_: pytest.fail("another's"))
            LIBC.signal(signal.SIGTERM, SIG_DFL)
            time.sleep(0.2)
            send(signal.SIGTERM)

    assert code_of(block) == 143


def test_a_command_says_it_while_it_is_still_imported() -> None:
    """And does not before that begin to load what takes long."""
    done = run(
        "import os, signal, sys\n"
        "import hawk.cli.entry\n"
        "class Finder:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'hawk.cli.app':\n"
        "            os.kill(os.getpid(), signal.SIGINT)\n"
        "assert 'typer' not in sys.modules\n"
        "sys.meta_path.insert(0, Finder())\n"
        "hawk.cli.entry.main(['models'])\n"
    )
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr == "hawk: stopped by SIGINT\n"


LEAVER = """
import os, subprocess, sys, time
from pathlib import Path
from hawk.cluster.reaper import reaping
folder = Path(sys.argv[1])
sleep = [sys.executable, "-c", "import sys, time; open(sys.argv[1], 'w'); time.sleep(600)"]
sleep[2] = sleep[2].replace("open(", "kept = open(")
(folder / "elsewhere").mkdir()
stranger = subprocess.Popen([*sleep, str(folder / "elsewhere" / "log")], start_new_session=True)
with reaping():
    session = folder / f"session_2026-01-01_{os.getpid()}"
    session.mkdir()
    left = subprocess.Popen([*sleep, str(session / "log")], start_new_session=True)
    while not (session / "log").exists():
        time.sleep(0.01)
    print(stranger.pid, left.pid, flush=True)
    time.sleep(600)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the reaper needs /proc")
def test_a_killed_process_leaves_nothing_of_its_ray_and_nobody_else_is_touched(
    tmp_path: Path,
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", LEAVER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        stranger, left = map(int, process.stdout.readline().split())
        process.kill()
    try:
        give_up = time.monotonic() + WAIT_S
        while alive(left):
            assert time.monotonic() < give_up, "it was left behind"
            time.sleep(0.02)
        assert alive(stranger)
    finally:
        os.kill(stranger, signal.SIGKILL)


def alive(pid: int) -> bool:
    """Whether it runs: one that nobody has waited for does not."""
    try:
        return (reaper.PROCESSES / str(pid) / "stat").read_text().rpartition(")")[2][1] != "Z"
    except OSError:
        return False
