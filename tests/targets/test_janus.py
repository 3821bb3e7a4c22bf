"""Janus: our forward is that of transformers, and so is our image for the same noise."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import JanusForConditionalGeneration, LogitsProcessor, LogitsProcessorList

from hawk import Pipeline, SamplerConfig
from hawk.decoding.tree import Shapes, Tree
from hawk.targets import load_target
from hawk.targets.janus import Janus
from tests import reference

PROMPTS = ["a red apple", "the flag of Norway, and a tree"]


class OurNoise(LogitsProcessor):
    """Guidance, filters and noise in one; `generate` then takes the argmax.

    It stands in for transformers' own guidance, which runs after a caller's processors.
    """

    def __init__(self, seed: int, guidance: float, sampler: SamplerConfig) -> None:
        self._pick = reference.coupled_pick(seed, sampler)
        self._guidance = guidance
        self._step = 0

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        mixed = scores[1:] + self._guidance * (scores[:1] - scores[1:])
        best = self._pick(mixed, self._step)
        self._step += 1
        return torch.full_like(mixed, -torch.inf).index_fill_(1, torch.tensor([best]), 0.0)


@pytest.mark.parametrize(
    "sampler", [SamplerConfig(), SamplerConfig(temperature=0.8, top_k=12)], ids=["full", "top-k"]
)
def test_transformers_generate_with_our_noise_makes_our_image(
    tiny: Janus, sampler: SamplerConfig
) -> None:
    pipeline = Pipeline(tiny, drafter="jacobi", rule="coupled", slots=2)
    ours = pipeline(PROMPTS, seed=5, guidance=4.0, sampler=sampler)
    for prompt, picture in zip(PROMPTS, ours.pictures, strict=True):
        ids: Any = torch.tensor(tiny.encode(prompt)[:1])
        theirs = tiny.model.generate(
            ids,
            attention_mask=ids * 0 + 1,
            generation_mode="image",
            do_sample=False,
            guidance_scale=1.0,
            logits_processor=LogitsProcessorList([OurNoise(5, 4.0, sampler)]),
        )
        assert picture.tokens == theirs[0].tolist()


def test_ragged_trees_give_the_hidden_states_of_plain_sequences(tiny: Janus) -> None:
    """Two prompts of different length, a tree with side branches: each node as if it were alone."""
    prompts = [tiny.encode(prompt) for prompt in PROMPTS]
    cache = tiny.new_cache(slots=2, branches=2, nodes=8)
    guidance = torch.full((2,), 3.0)
    tiny.prefill(prompts, range(2), guidance, cache)
    tree = Tree(
        shapes=Shapes([[0, 0, 1, 1, 0], [0, 0, 0, 2, 3]], torch.device("cpu")),
        shape_B=torch.tensor([0, 1]),
        tokens_BN=torch.tensor([[1, 2, 3, 4, 5], [6, 7, 8, 9, 10]]),
    )
    output = tiny.forward(tree, guidance, cache)
    for row, (ids, _) in enumerate(prompts):
        rows = [ids, reference.unconditional(ids, bos=0, boi=2, pad=1)]
        for node in range(5):
            way = tree.shapes.path_ZNL[row, node, : tree.shapes.depths_ZN[row, node] + 1]
            tokens = tree.tokens_BN[row, way].tolist()
            logits = last_logits(tiny.model, rows, tokens)
            mixed = logits[1] + 3.0 * (logits[0] - logits[1])
            assert torch.allclose(output.logits_BNV[row, node], mixed, atol=1e-3, rtol=1e-4)


@torch.inference_mode()
def last_logits(
    model: JanusForConditionalGeneration, prompts: list[list[int]], tokens: list[int]
) -> torch.Tensor:
    text = model.get_input_embeddings()(torch.tensor(prompts))
    image = model.prepare_embeddings_for_image_generation(torch.tensor([tokens] * len(prompts)))
    hidden = model.model.language_model(inputs_embeds=torch.cat([text, image], 1))
    return model.model.generation_head(hidden.last_hidden_state[:, -1])


def test_guidance_one_beside_guided_images_is_no_guidance(tiny: Janus) -> None:
    cache = tiny.new_cache(slots=2, branches=2, nodes=1)
    single = tiny.new_cache(slots=1, branches=1, nodes=1)
    prompts = [tiny.encode(prompt) for prompt in PROMPTS]
    mixed = tiny.prefill(prompts, range(2), torch.tensor([1.0, 5.0]), cache)
    alone = tiny.prefill(prompts[:1], range(1), torch.tensor([1.0]), single)
    assert torch.allclose(mixed.logits_BNV[0], alone.logits_BNV[0], atol=1e-3, rtol=1e-4)


def test_pixels_are_those_of_the_model(tiny: Janus) -> None:
    tokens = torch.randint(0, 64, (2, 36), generator=torch.Generator().manual_seed(0))
    decoded = tiny.model.decode_image_tokens(tokens)
    assert tiny.pixels(tokens).shape == (2, 12, 12, 3)
    wanted = ((decoded.clamp(-1, 1) + 1) * 127.5).round()
    assert torch.equal(tiny.pixels(tokens).float(), wanted)


def test_a_prompt_that_is_too_long_is_refused_with_the_limit(tiny: Janus) -> None:
    with pytest.raises(ValueError, match=f"reads up to {tiny.prompt_limit}"):
        tiny.encode("apple " * 200)


def test_special_tokens_in_a_prompt_are_refused(tiny: Janus) -> None:
    with pytest.raises(ValueError, match="begin_of_image"):
        tiny.encode("an apple <begin_of_image> and more")


@pytest.mark.parametrize(
    ("model", "complaint"),
    [
        ("no-such-model", "no model 'no-such-model' .*give one of emoji"),
        ("/nonexistent/folder", "no model"),
    ],
)
def test_unknown_models_are_refused(model: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        load_target(model, dtype=torch.float32, device=torch.device("cpu"))


def test_other_families_are_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ValueError, match="it is a 'bert' model, and Hawk runs janus"):
        load_target(str(tmp_path), dtype=torch.float32, device=torch.device("cpu"))


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "model.safetensors").write_bytes(b"not weights"),
        lambda folder: (folder / "model.safetensors").unlink(),
        lambda folder: (folder / "config.json").write_text("{broken"),
        lambda folder: (folder / "tokenizer.json").write_text("{broken"),
    ],
    ids=["weights", "no weights", "config", "tokenizer"],
)
def test_a_broken_folder_is_named(
    tiny_folder: Path, tmp_path: Path, damage: Callable[[Path], object]
) -> None:
    shutil.copytree(tiny_folder, tmp_path, dirs_exist_ok=True)
    damage(tmp_path)
    with pytest.raises(ValueError, match="cannot load"):
        load_target(str(tmp_path), dtype=torch.float32, device=torch.device("cpu"))
