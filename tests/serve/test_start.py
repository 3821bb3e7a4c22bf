"""Start: who loads the model, and who does not."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from hawk.targets.hf import DecoderTarget
from serve import replica
from serve.replica import Replica
from tests.serve.conftest import tiny_config


def test_only_a_model_replica_loads_torch() -> None:
    """Its import takes seconds: neither who starts the service nor an ingress waits for it."""
    code = (
        "import sys, serve.app, serve.local, serve.remote\n"
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
    model = config.model.model_copy(update={"compile": True})
    Replica(config.model_copy(update={"model": model})).engine.close()
    assert len(compiled) == 1
