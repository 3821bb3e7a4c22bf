"""A check passes on checkpoints of every family, and says what it could not compare."""

from pathlib import Path

import pytest
import torch

from hawk.targets import memory_estimate
from hawk.targets.janus import Janus
from hawk.targets.source import Source
from hawk.targets.weight_shapes import shapes
from tests.check.models import FAMILIES, findings, named, save_tiny

OF_LOGITS = ("logits", "guidance", "greedy tokens")
OF_TARGET = ("load", "prompts", "passes", "decoding", "drafting")
IN_FLOAT32 = (*OF_TARGET, "memory", *(f"{name}, float32" for name in OF_LOGITS), "pixels")
# What transformers has nothing for.
ABSENT = {
    "anole": {"pixels"},
    "lumina": {"pixels"},
    "llamagen": {"prompts", "pixels", *(f"{name}, float32" for name in OF_LOGITS)},
}
GREEDY = {"janus": 32, "emu3": 19, "anole": 24, "lumina": 31}  # of 36, 20, 25 and 32 cells


@pytest.mark.parametrize("family", FAMILIES)
def test_a_tiny_checkpoint_passes(family: str, tmp_path: Path) -> None:
    found = findings(family, save_tiny(family, tmp_path))
    assert tuple(found) == IN_FLOAT32
    assert named(found, "failed") == set(), "\n".join(map(str, found.values()))
    absent = ABSENT.get(family, set())
    assert named(found, "not applicable") == absent | {"memory"}  # which no CPU tells
    if absent:
        assert "transformers has no" in found["pixels"].line
    assert found["drafting"].numbers["different"] == 0
    if family != "llamagen":
        assert 0 < found["logits, float32"].numbers["largest"] < 1e-4
        assert found["greedy tokens, float32"].numbers["same"] == GREEDY[family]


def test_in_half_precision_passes_of_one_shape_are_compared_and_float32_besides(
    tmp_path: Path,
) -> None:
    found = findings("janus", save_tiny("janus", tmp_path), dtype="bfloat16")
    assert tuple(found) == (
        *OF_TARGET,
        *("drafting, deterministic", "memory"),
        *(f"{name}, bfloat16" for name in OF_LOGITS),
        *("pixels", "passes, float32"),
        *(f"{name}, float32" for name in OF_LOGITS),
    )
    assert named(found, "failed") <= {"pixels"}, "\n".join(map(str, found.values()))
    assert found["drafting, deterministic"].numbers["different"] == 0
    rounded = found["logits, bfloat16"].numbers["largest"]
    assert rounded > 100 * found["logits, float32"].numbers["largest"] > 0


def test_float32_that_has_no_room_is_not_applicable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = save_tiny("janus", tmp_path)
    source = Source(
        location=model,
        name="x",
        revision=None,
        size=None,
        dtype=torch.bfloat16,
        device=torch.device("cpu"),
    )
    half = memory_estimate.estimate(source, Janus, images=1)
    assert half is not None
    whole = memory_estimate.weight_bytes(shapes(source, source.config()) or [], torch.float32)
    assert half.total < whole
    monkeypatch.setattr(memory_estimate, "free_bytes", lambda _: whole - 1)
    found = findings("janus", model, dtype="bfloat16")
    assert "(float32) has no room on cpu" in found["passes, float32"].line
    assert named(found, "not applicable") == {
        *("memory", "passes, float32"),
        *(f"{name}, float32" for name in OF_LOGITS),
    }
