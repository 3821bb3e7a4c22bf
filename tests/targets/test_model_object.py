"""Models that are in memory: those of transformers, however they were made."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn
from transformers import (
    AutoTokenizer,
    BertConfig,
    BertModel,
    ChameleonForConditionalGeneration,
    JanusForConditionalGeneration,
    PreTrainedTokenizerBase,
)

from hawk import Pipeline
from hawk.targets.convert_chameleon import convert_chameleon
from hawk.targets.janus import Janus
from tests.tiny_families import save_tiny_chameleon

SETTINGS: dict[str, Any] = {"revision": "mine-1", "slots": 2}


@pytest.fixture
def model(tiny_folder: Path) -> JanusForConditionalGeneration:
    return JanusForConditionalGeneration.from_pretrained(tiny_folder)


@pytest.fixture(scope="module")
def tokenizer(tiny_folder: Path) -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(tiny_folder)


def tokens(pipeline: Pipeline) -> list[int]:
    return pipeline("a red apple", seed=3, guidance=4.0).pictures[0].tokens


def test_it_draws_as_the_files_that_it_came_from(
    model: JanusForConditionalGeneration, tokenizer: PreTrainedTokenizerBase, tiny: Janus
) -> None:
    pipeline = Pipeline.from_model(model.train(), tokenizer, **SETTINGS)
    assert not model.training  # dropout would make every pass another one
    assert tokens(pipeline) == tokens(Pipeline(tiny, drafter="plain", rule="coupled", slots=1))
    assert pipeline.target.identity.revision == "mine-1"
    assert pipeline.drafter == "jacobi"


def test_changed_weights_draw_otherwise(
    model: JanusForConditionalGeneration, tokenizer: PreTrainedTokenizerBase, tiny: Janus
) -> None:
    """As a merged LoRA or fine-tuning changes them."""
    with torch.no_grad():
        for layer in model.model.language_model.layers:
            layer.self_attn.v_proj.weight.mul_(1.5)
    merged = tokens(Pipeline.from_model(model, tokenizer, **SETTINGS))
    assert merged != tokens(Pipeline(tiny, drafter="plain", rule="coupled", slots=1))


def test_a_trained_drafter_fits_the_revision_that_is_given(
    model: JanusForConditionalGeneration,
    tokenizer: PreTrainedTokenizerBase,
    tiny: Janus,
    tiny_folder: Path,
) -> None:
    drafter = str(tiny_folder / "drafters" / "hawk")
    revision = tiny.identity.revision
    fits = Pipeline.from_model(model, tokenizer, revision=revision, drafter=drafter, slots=1)
    assert fits.drafter == "hawk"
    tokens(fits)
    other = Pipeline.from_model(model, tokenizer, revision="mine-1", drafter=drafter, slots=1)
    with pytest.raises(ValueError, match=r"its target_revision is .* this target's is mine-1"):
        tokens(other)


class Int8Linear(nn.Module):
    """A product whose weight is packed, as those of bitsandbytes are."""

    def __init__(self, plain: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = plain.in_features, plain.out_features
        self.bias = plain.bias
        scale = plain.weight.detach().abs().amax(1, keepdim=True) / 127
        self.scale = nn.Parameter(scale, requires_grad=False)
        packed = (plain.weight.detach() / scale).round().to(torch.int8)
        self.weight = nn.Parameter(packed, requires_grad=False)

    def unpacked(self) -> torch.Tensor:
        return self.weight.float() * self.scale

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.linear(x, self.unpacked(), self.bias)


def test_quantised_layers_draw_as_their_weights_say(
    model: JanusForConditionalGeneration, tokenizer: PreTrainedTokenizerBase, tiny_folder: Path
) -> None:
    rounded = JanusForConditionalGeneration.from_pretrained(tiny_folder)
    for name, part in list(model.model.language_model.layers.named_modules()):
        if isinstance(part, nn.Linear):
            packed = Int8Linear(part)
            model.model.language_model.layers.set_submodule(name, packed)
            twin: Any = rounded.model.language_model.layers.get_submodule(name)
            twin.weight.data = packed.unpacked()
    made = tokens(Pipeline.from_model(model, tokenizer, **SETTINGS))
    assert made == tokens(Pipeline.from_model(rounded, tokenizer, **SETTINGS))


def test_the_decoder_for_pixels_is_read_where_the_object_came_from(tmp_path: Path) -> None:
    hf, vqgan, out = tmp_path / "hf", tmp_path / "vqgan.ckpt", tmp_path / "anole"
    save_tiny_chameleon(hf, vqgan, resolution=10)
    convert_chameleon(hf, out, family="chameleon", vqgan=vqgan, size=None)
    words = AutoTokenizer.from_pretrained(out)
    converted = ChameleonForConditionalGeneration.from_pretrained(out)
    original = ChameleonForConditionalGeneration.from_pretrained(hf)
    drawn = tokens(Pipeline.from_model(converted, words, **SETTINGS))
    assert drawn == tokens(Pipeline.from_pretrained(str(out), slots=1))
    assert drawn == tokens(Pipeline.from_model(original, words, files=out, **SETTINGS))
    again = ChameleonForConditionalGeneration.from_pretrained(hf)
    with pytest.raises(ValueError, match="decoder for pixels"):
        Pipeline.from_model(again, words, **SETTINGS)
    with pytest.raises(ValueError, match="elsewhere is no folder"):
        Pipeline.from_model(again, words, files=tmp_path / "elsewhere", **SETTINGS)


def on_meta(model: Any, tokenizer: Any) -> tuple[Any, Any]:
    return model.to("meta"), tokenizer


def with_adapters(model: Any, tokenizer: Any) -> tuple[Any, Any]:
    model.peft_config = {"default": object()}  # as peft's wrappers have
    return model, tokenizer


def with_a_quantised_embedding(model: Any, tokenizer: Any) -> tuple[Any, Any]:
    class Packed(torch.Tensor):
        """As torchao's weights are."""

    weight = model.get_input_embeddings().weight.detach().as_subclass(Packed)
    model.get_input_embeddings().weight = nn.Parameter(weight)
    return model, tokenizer


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (on_meta, "has to be on one device, got meta"),
        (with_adapters, "adapters that are not merged: give what merge_and_unload"),
        (with_a_quantised_embedding, "weight of Embedding is quantised .Packed."),
        (lambda m, t: (m, SimpleNamespace(tokenizer=t)), "give processor.tokenizer"),
        (lambda m, t: (m.model, t), "JanusModel does not draw: load it as JanusForCond"),
        (lambda m, t: (nn.Linear(2, 2), t), "of the families janus, .*, got Linear"),
        (
            lambda m, t: (BertModel(BertConfig(num_hidden_layers=1)), t),
            "of the families janus, .*, got BertModel",
        ),
    ],
)
def test_what_cannot_be_run_as_it_is_is_refused(
    model: JanusForConditionalGeneration,
    tokenizer: PreTrainedTokenizerBase,
    change: Callable[[Any, Any], tuple[Any, Any]],
    complaint: str,
) -> None:
    with pytest.raises(ValueError, match=complaint):
        Pipeline.from_model(*change(model, tokenizer), **SETTINGS)
