"""Start: who loads the model, who does not, and what is said where it cannot be loaded."""

import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from benchmarks.processes import below
from hawk.serving import local_service, replica
from hawk.serving.replica import Replica
from hawk.targets.decoder_target import DecoderTarget
from tests.serving.conftest import tiny_config
from tests.serving.running import WAIT_S, eventually, settings


def test_only_a_model_replica_loads_torch() -> None:
    """Its import takes seconds: neither who starts the service nor an ingress waits for it."""
    code = (
        "import sys, hawk.serving.app, hawk.serving.local_service, hawk.serving.remote_backend\n"
        "print([name for name in ('torch', 'transformers') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_who_loads_the_model_does_not_stay(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OpenMP's threads of the one would slow down those of the engine."""
    threads, loaded = [], replica._loaded

    def watched(*arguments: object) -> object:
        threads.append(threading.current_thread())
        return loaded(*arguments)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(replica, "_loaded", watched)
    Replica(tiny_config(tiny_folder)).engine.close()
    [thread] = threads
    assert not thread.is_alive()


def test_layers_are_compiled_where_asked(tiny_folder: Path, compiled: list[DecoderTarget]) -> None:
    config = tiny_config(tiny_folder)
    model = replace(config.model, compile=True)
    Replica(config.model_copy(update={"model": model})).engine.close()
    assert len(compiled) == 1


@pytest.mark.ray
@pytest.mark.slow
def test_what_cannot_start_says_why(tiny_folder: Path, tmp_path: Path) -> None:
    config = settings(tiny_folder, slots=1, waiting=10, replicas={})
    config["model"]["drafters"] = ["medusa"]
    file = tmp_path / "serve.yaml"
    file.write_text(yaml.safe_dump(config))
    ended = subprocess.run(
        [
            sys.executable,
            "-c",
            "from hawk.cli.app import app; app()",
            "serve",
            "--config",
            str(file),
        ],
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert ended.stderr.splitlines()[-1].startswith("hawk: no drafter 'medusa'")
    assert "Traceback" not in ended.stderr
    assert "raylet" not in ended.stderr, "Ray's words about how we end it"


@pytest.mark.parametrize(
    ("end", "kind", "words"),
    [
        ("ValueError: no such: thing", ValueError, "no such: thing"),
        ("ValueError: two\nlines", ValueError, "two\nlines"),
        ("torch.OutOfMemoryError: 3 GiB", RuntimeError, "torch.OutOfMemoryError: 3 GiB"),
    ],
)
def test_the_cause_is_at_the_end_of_a_trace(end: str, kind: type[Exception], words: str) -> None:
    trace = f"""Traceback (most recent call last):
  File "a.py", line 1, in a
KeyError: 'a'

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File "b.py", line 2, in b
    x: int = f(y: 3)
{end}
"""
    cause = local_service.cause(trace)
    assert type(cause) is kind
    assert str(cause) == words


def test_a_process_that_was_killed_leaves_no_trace() -> None:
    cause = local_service.cause("The actor died unexpectedly.\n\tclass_name: ModelReplica\n")
    assert type(cause) is RuntimeError
    assert "died unexpectedly" in str(cause)


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks at processes in /proc")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_signal_before_it_is_up_ends_all_it_has_started(
    tiny_folder: Path, tmp_path: Path, number: signal.Signals
) -> None:
    file = tmp_path / "serve.yaml"
    file.write_text(yaml.safe_dump(settings(tiny_folder, slots=1, waiting=10, replicas={})))
    code = "from hawk.cli.entry import main; main()"
    with subprocess.Popen(
        [sys.executable, "-c", code, "serve", "--config", str(file)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as command:
        started = []
        while not any("ray::ServeController" in process.command for process in started):
            assert command.poll() is None
            started = below(command.pid)
        command.send_signal(number)
        out, err = command.communicate(timeout=WAIT_S)
    eventually(lambda: not any(process.is_there for process in started), "nothing is left")
    assert out == ""
    assert "Traceback" not in err
    if number == signal.SIGTERM:
        assert command.returncode == 143
        assert err.splitlines()[-1] == "hawk: stopped by SIGTERM"
