"""Stops: `hawk batch` and `hawk serve` ended by a signal at random moments, and what is left.

    python -m benchmarks.stops --command batch --signal SIGKILL --times 20

Each line has the moment, the exit code, what was said last, and how many processes of the command
were there a moment before and are there after.
"""

import random
import signal
import subprocess
import sys
import tempfile
import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.ports import free_port
from benchmarks.processes import below

EARLIEST_S = 0.5  # before Python itself is up a command cannot say anything
SETTLE_S = 5.0  # after the end; by then the reaper has looked twice


class Kind(StrEnum):
    BATCH = "batch"
    SERVE = "serve"


def main(
    kind: Annotated[Kind, typer.Option("--command")] = Kind.BATCH,
    name: Annotated[str, typer.Option("--signal")] = "SIGTERM",
    times: int = 20,
    latest_s: Annotated[float, typer.Option(help="After so long it is at work.")] = 20.0,
    seed: int = 0,
    model: str = "emoji",
) -> None:
    """Start, signal, look."""
    draw = random.Random(seed)
    number = signal.Signals[name]
    wrong = 0
    for _ in range(times):
        moment_s = draw.uniform(EARLIEST_S, latest_s)
        with tempfile.TemporaryDirectory() as folder:
            fine, line = once(arguments(kind, Path(folder), model), number, moment_s)
        wrong += not fine
        typer.echo(f"{'ok   ' if fine else 'WRONG'} {moment_s:5.1f} s  {line}")
    raise typer.Exit(int(wrong > 0))


def arguments(kind: Kind, folder: Path, model: str) -> list[str]:
    """Of a job that does not end, or of a service."""
    if kind is Kind.SERVE:
        return ["serve", "--port", str(free_port()), "--model", model]
    prompts = folder / "prompts.txt"
    prompts.write_text("a red apple\n" * 10_000)
    return ["batch", str(prompts), str(folder / "out"), "--workers", "2", "--model", model]


def once(arguments: list[str], number: signal.Signals, moment_s: float) -> tuple[bool, str]:
    """Whether it ended as documented, and what there is to say of it."""
    command = [sys.executable, "-c", "from hawk.cli.entry import main; main()", *arguments]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as run:
        time.sleep(moment_s)
        before = below(run.pid)
        run.send_signal(number)
        signalled = time.monotonic()
        out, err = run.communicate()
    ended_s = time.monotonic() - signalled
    time.sleep(SETTLE_S)
    left = [process for process in before if process.is_there]
    served = '"url"' in out or "is served at" in out
    expected = {-signal.SIGKILL} if number == signal.SIGKILL else {128 + number}
    if served and number != signal.SIGKILL:
        expected = {0}
    said = (err.strip().splitlines() or [""])[-1]
    told = number == signal.SIGKILL or served or f"hawk: stopped by {number.name}" in said
    fine = run.returncode in expected and told and not left and "Traceback" not in err
    if not fine:
        sys.stderr.write(err)
    return fine, (
        f"exit {run.returncode} after {ended_s:.1f} s; {len(before)} processes, "
        f"{len(left)} left {[process.command[:60] for process in left] or ''}; {said[:100]}"
    )


if __name__ == "__main__":
    typer.run(main)
