"""`hawk batch` ended by signals, on a Ray of its own: what it says, and what is left."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.processes import below
from tests.batch.runs import DEADLINE_S, write_prompts

pytestmark = [
    pytest.mark.ray,
    pytest.mark.skipif(sys.platform != "linux", reason="looks at processes in /proc"),
]
STARTING, LOADING = "gcs_server", "ray::_Actor"  # in whose command lines the moments are seen


@pytest.mark.parametrize(
    ("number", "moment"),
    [(signal.SIGTERM, STARTING), (signal.SIGINT, LOADING), (signal.SIGKILL, LOADING)],
)
def test_a_signal_at_any_moment_leaves_nothing(
    tiny_folder: Path, tmp_path: Path, number: signal.Signals, moment: str
) -> None:
    file = write_prompts(tmp_path / "p.txt", ["a red apple"] * 1_000)
    code = "from hawk.cli.entry import main; main()"
    options = ["--model", str(tiny_folder), "--cpus-per-worker", "0.5"]
    with subprocess.Popen(
        [sys.executable, "-c", code, "batch", str(file), str(tmp_path / "out"), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as command:
        started = []
        until = time.monotonic() + DEADLINE_S
        while not any(moment in process.command for process in started):
            assert command.poll() is None
            assert time.monotonic() < until, f"no {moment}"
            started = below(command.pid)
        command.send_signal(number)
        out, err = command.communicate(timeout=DEADLINE_S)
    while any(process.is_there for process in started):
        assert time.monotonic() < until, "it has left processes behind"
        time.sleep(0.05)
    if number == signal.SIGKILL:
        assert command.returncode == -number
        return
    assert command.returncode == 128 + number
    assert out == ""
    said = f"hawk: stopped by {number.name}; the same command goes on from here"
    assert err.splitlines()[-1] == said
    assert "Traceback" not in err
