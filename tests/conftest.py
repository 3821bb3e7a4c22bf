"""Shared fixtures: a tiny Janus, saved once and loaded as a user would load it."""

import os
import uuid
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # no test may reach for a hub
# Before torch is imported, here and in what tests start: tiny models gain nothing from threads, and
# those of several processes on few cores wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Before anything imports ray, which reads them then: loopback only, and with a token.
os.environ.update(
    RAY_USAGE_STATS_ENABLED="0",
    RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER="0",
    RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO="0",
    RAY_worker_niceness="0",  # else its workers wait for whatever else this machine does
    RAY_AUTH_MODE="token",
    RAY_AUTH_TOKEN=uuid.uuid4().hex,
)

import pytest
import torch

from hawk.targets import load_target
from hawk.targets.decoder_target import DecoderTarget
from hawk.targets.janus import Janus
from tests.shapes import save_shapes
from tests.tiny import save_tiny_drafters, save_tiny_janus


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny-janus")
    save_tiny_janus(folder)
    save_tiny_drafters(folder / "drafters", load(folder).identity)
    return folder


@pytest.fixture(scope="session")
def tiny(tiny_folder: Path) -> Janus:
    return load(tiny_folder)


@pytest.fixture(scope="session")
def real_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What evaluation compares with."""
    path = tmp_path_factory.mktemp("real") / "real.npz"
    save_shapes(path)
    return path


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[DecoderTarget]:
    """Targets whose layers were to be compiled, which would take half a minute each."""
    targets: list[DecoderTarget] = []
    monkeypatch.setattr(DecoderTarget, "compile", lambda self: targets.append(self))
    return targets


def load(folder: Path) -> Janus:
    target = load_target(str(folder), dtype=torch.float32, device=torch.device("cpu"))
    assert isinstance(target, Janus)
    return target
