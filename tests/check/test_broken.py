"""What is broken on purpose is found, and named by the check that is about it."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers.models.janus.modeling_janus import JanusVQVAEVectorQuantizer

from hawk import Pipeline, Result
from hawk.check import examination, image_checks
from hawk.targets import chameleon, emu3, guidance, load_target
from hawk.targets.janus import Janus
from tests.check.models import findings, named, save_tiny

Change = Callable[[Path], object]


def read_instead(monkeypatch: pytest.MonkeyPatch, good: Path, change: Change) -> None:
    """Have the target read a changed copy of a checkpoint, and transformers the good one."""
    broken = good.with_name("broken")
    shutil.copytree(good, broken)
    change(broken)
    monkeypatch.setattr(
        examination, "load_target", lambda model, **rest: load_target(str(broken), **rest)
    )


def changed_weights(change: Callable[[dict[str, Tensor]], object]) -> Change:
    def write(folder: Path) -> None:
        weights = load_file(folder / "model.safetensors")
        change(weights)
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})

    return write


def swap_queries_and_keys(weights: dict[str, Tensor]) -> None:
    for name in [name for name in weights if name.endswith("q_proj.weight")]:
        other = name.replace("q_proj", "k_proj")
        rows = len(weights[other])  # queries may have more heads
        query, key = weights[name].clone(), weights[other].clone()
        weights[other] = query[:rows].contiguous()
        weights[name] = torch.cat([key, query[rows:]])


@pytest.fixture
def janus(tmp_path: Path) -> Path:
    return save_tiny("janus", tmp_path)


def test_a_wrong_chat_template(janus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bare = "{{ messages[0]['content'][0]['text'] }}"
    read_instead(
        monkeypatch, janus, lambda folder: (folder / "chat_template.jinja").write_text(bare)
    )
    found = findings("janus", janus)
    assert named(found, "failed") == {"prompts"}
    assert "'a red apple' is 5 tokens with " in found["prompts"].line
    assert "by JanusProcessor" in found["prompts"].line


def test_swapped_queries_and_keys(janus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read_instead(monkeypatch, janus, changed_weights(swap_queries_and_keys))
    found = findings("janus", janus)
    assert "logits, float32" in named(found, "failed")
    assert named(found, "passed") >= {"prompts", "drafting", "pixels"}
    assert found["logits, float32"].numbers["largest"] > 0.01  # random weights attend evenly


def test_an_unnormalised_codebook(janus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unnormalised(self: Any, image_tokens: Tensor) -> Tensor:
        entries = self.embedding(image_tokens)
        return entries.view(len(entries), *self.quant_state_dims, -1).permute(0, 3, 1, 2)

    def pixels(self: Janus, tokens_BT: Tensor, honest: Any = Janus.pixels) -> Tensor:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(JanusVQVAEVectorQuantizer, "get_codebook_entry", unnormalised)
            return honest(self, tokens_BT)

    monkeypatch.setattr(Janus, "pixels", pixels)
    found = findings("janus", janus)
    assert named(found, "failed") == {"pixels"}
    assert found["pixels"].numbers["largest"] > 10


def test_guidance_in_the_wrong_order(janus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def mix(logits_RNV: Tensor, guidance_B: Tensor, branches: int) -> Tensor:
        if branches == 1:
            return logits_RNV.float()
        conditional, unconditional = logits_RNV.float().unflatten(0, (-1, 2)).unbind(1)
        return conditional.lerp(unconditional, guidance_B[:, None, None])

    monkeypatch.setattr(guidance, "mix", mix)
    found = findings("janus", janus)
    assert named(found, "failed") == {"guidance, float32", "greedy tokens, float32"}
    assert found["guidance, float32"].line.startswith("the branches are exchanged: guidance 5 diff")
    assert "further from it than rounding explains" in found["greedy tokens, float32"].line


@pytest.mark.parametrize(
    ("family", "module", "name", "wrong"),
    [
        ("emu3", emu3, "END_OF_LINE", "<|extra_201|>"),
        ("lumina", chameleon, "NEW_LINE", "<reserved08820>"),
    ],
)
def test_a_wrong_row_end(  # a case and its fixtures
    family: str,
    module: Any,
    name: str,
    wrong: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = save_tiny(family, tmp_path)
    monkeypatch.setattr(module, name, wrong)
    found = findings(family, model)
    assert "logits, float32" in named(found, "failed")
    assert named(found, "passed") >= {"prompts", "drafting"}
    assert found["logits, float32"].numbers["row"] > 0  # the first row is right


def test_weights_that_are_no_numbers(janus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def spoil(weights: dict[str, Tensor]) -> None:
        weights["model.language_model.norm.weight"][:] = torch.nan

    read_instead(monkeypatch, janus, changed_weights(spoil))
    found = findings("janus", janus)
    assert named(found, "failed") == {"passes", "drafting"}
    assert "logits that are not numbers" in found["passes"].line
    assert "no passes to compare" in found["logits, float32"].line


@pytest.mark.parametrize(
    ("dtype", "failed"), [("float32", "drafting"), ("bfloat16", "drafting, deterministic")]
)
def test_a_drafter_that_changes_the_image(
    dtype: str, failed: str, janus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In half precision rounding may change it too, where passes have shapes of their own."""

    def run(self: Pipeline, requests: Any, honest: Any = Pipeline.run) -> Result:
        result = honest(self, requests)
        if self.drafter != "plain":
            result.pictures[0].tokens[5] ^= 1
        return result

    monkeypatch.setattr(
        image_checks.Pipeline, "run", lambda self, requests, **_: run(self, requests)
    )
    found = findings("janus", janus, dtype=dtype)
    assert failed in named(found, "failed")
    assert "makes 1 of 36 tokens that plain decoding does not" in found[failed].line
    assert dtype == "float32" or found["drafting"].outcome == "passed"


def test_a_folder_without_weights(janus: Path) -> None:
    (janus / "model.safetensors").unlink()
    found = findings("janus", janus)
    assert tuple(found) == ("load",)
    assert found["load"].line.startswith("cannot load")
