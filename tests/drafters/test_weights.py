"""Weights: a drafter loads for its own target only, and says so."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from hawk import Pipeline
from hawk.drafters import choose, weights
from hawk.drafters.local_context import ContextNetwork
from hawk.targets.janus import Janus
from hawk.targets.revision import fingerprint

CPU = torch.device("cpu")


def test_a_drafter_of_other_weights_is_refused(tiny: Janus) -> None:
    other = replace(tiny.identity, revision="0123")
    with pytest.raises(ValueError, match=r"another target \(its target_revision is .*0123\)"):
        weights.load("hawk", other, ContextNetwork, CPU)
    assert choose("auto", other)[0] == "jacobi"


def test_a_drafter_of_another_vocabulary_is_refused(tiny: Janus) -> None:
    other = replace(tiny.identity, vocabulary=65)
    with pytest.raises(ValueError, match="its vocabulary is 64, this target's is 65"):
        weights.load("hawk", other, ContextNetwork, CPU)


def test_without_weights_there_is_no_trained_drafter(tiny: Janus) -> None:
    other = replace(tiny.identity, drafters={})
    with pytest.raises(ValueError, match=r"no trained 'local' drafter .* --kind local"):
        weights.load("local", other, ContextNetwork, CPU)
    assert choose("auto", other)[0] == "jacobi"


def test_auto_is_hawk_where_it_was_trained_for_the_target(tiny: Janus) -> None:
    assert Pipeline(tiny, drafter="auto", rule="coupled", slots=1).drafter == "hawk"


def test_auto_leaves_out_what_says_that_it_does_not_pay(tiny: Janus, tmp_path: Path) -> None:
    folder = tmp_path / "hawk"
    shutil.copytree(tiny.identity.drafters["hawk"], folder)
    identity = replace(tiny.identity, drafters={"hawk": folder})
    assert choose("auto", identity)[0] == "hawk"
    config = folder / weights.CONFIG
    config.write_text(json.dumps(json.loads(config.read_text()) | {"auto": False}))
    assert choose("auto", identity)[0] == "jacobi"
    assert choose("hawk", identity)[0] == "hawk"


def test_a_folder_is_the_drafter_in_it(tiny: Janus) -> None:
    kind, identity = choose(
        str(tiny.identity.drafters["local"]), replace(tiny.identity, drafters={})
    )
    assert kind == "local"
    weights.load("local", identity, ContextNetwork, CPU)
    with pytest.raises(
        ValueError, match="no drafter 'nowhere': choose from auto, jacobi, hawk, plain"
    ):
        choose("nowhere", tiny.identity)


def test_broken_folders_are_named(tiny: Janus, tmp_path: Path) -> None:
    identity = replace(tiny.identity, drafters={"hawk": tmp_path})
    with pytest.raises(ValueError, match="is not a trained drafter"):
        weights.load("hawk", identity, ContextNetwork, CPU)
    config = weights.read_config(tiny.identity.drafters["hawk"])
    (tmp_path / weights.CONFIG).write_text(json.dumps(config | {"network": {}, "grid": None}))
    with pytest.raises(ValueError, match="its grid is None"):
        weights.load("hawk", identity, ContextNetwork, CPU)
    (tmp_path / weights.CONFIG).write_text(json.dumps(config))
    (tmp_path / weights.MODEL).write_bytes(b"rubbish")
    with pytest.raises(ValueError, match=f"cannot load the drafter in {tmp_path}"):
        weights.load("hawk", identity, ContextNetwork, CPU)


def test_a_revision_changes_with_any_weight(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    file.write_bytes(bytes(1000))
    first = fingerprint(tmp_path)
    assert first == fingerprint(tmp_path)
    file.write_bytes(bytes(999) + b"x")
    assert fingerprint(tmp_path) != first
    with pytest.raises(ValueError, match="no safetensors"):
        fingerprint(tmp_path / "nowhere")
