"""LlamaGen: the converted model draws what the published weights say, by a reference of its own.

The reference is written from the paper and the layout of the official checkpoint, not from ours: it
keeps the official places of the prompt (filled on the left, masked), turns neighbouring numbers of
a head, and reads the weights under their official names.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch.nn.functional import gelu, linear, silu

from hawk import Request, SamplerConfig
from hawk.targets import load_target
from hawk.targets.convert_llamagen import convert_llamagen
from hawk.targets.llamagen import PATCH, LlamaGen
from hawk.targets.weight_shapes import TEXT_FOLDER
from tests.targets import families
from tests.tiny_families import (
    CODES,
    GRID,
    HEAD,
    LAYERS,
    TEXT_TOKENS,
    TEXT_WIDTH,
    Weights,
    janus_vq,
    published_gpt,
    save_tiny_llamagen,
)

CPU = torch.device("cpu")
PROMPTS = ["A red  apple", "the flag of Norway"]


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tiny-llamagen")
    save_tiny_llamagen(path)
    return path


def convert(published: Path, out: Path, **changes: Any) -> None:
    settings: dict[str, Any] = {
        "vq": published / "vq.pt",
        "size": (GRID * PATCH, GRID * PATCH),
        "text_encoder": str(published / TEXT_FOLDER),
    }
    gpt = changes.pop("gpt", published / "gpt.pt")
    convert_llamagen(gpt, out, **settings | changes)


@pytest.fixture(scope="module")
def folder(published: Path) -> Path:
    convert(published, published / "converted")
    return published / "converted"


@pytest.fixture(scope="module")
def target(folder: Path) -> LlamaGen:
    loaded = load_target(str(folder), dtype=torch.float32, device=CPU)
    assert isinstance(loaded, LlamaGen)
    return loaded


def norm(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-5) * weight


def turns(cells: int) -> torch.Tensor:
    """Complex rotary factors [places, HEAD / 2]: zero for the prompt; row and column of a cell."""
    speeds = 10000.0 ** -(torch.arange(0, HEAD // 2, 2) / (HEAD // 2))
    cell = torch.arange(cells)
    rows, columns = (cell // GRID)[:, None] * speeds, (cell % GRID)[:, None] * speeds
    angles = torch.cat([rows, columns], 1)
    prompt = torch.zeros(TEXT_TOKENS, HEAD // 2, dtype=torch.complex64)
    return torch.cat([prompt, torch.polar(torch.ones_like(angles), angles)])


def rotate(x: torch.Tensor, factors: torch.Tensor) -> torch.Tensor:
    pairs = torch.view_as_complex(x.unflatten(-1, (-1, 2)).contiguous())
    return torch.view_as_real(pairs * factors).flatten(-2)


def official_logits(
    weights: Weights, text: torch.Tensor, valid: int, tokens: list[int]
) -> torch.Tensor:
    """Logits [CODES] after some tokens; `text` fills all places of the prompt, `valid` count."""
    hidden = gelu(linear(text, weights["cls_embedding.cap_proj.fc1.weight"]), approximate="tanh")
    prompt = linear(hidden, weights["cls_embedding.cap_proj.fc2.weight"])
    x = torch.cat(
        [prompt, weights["tok_embeddings.weight"][torch.tensor(tokens, dtype=torch.long)]]
    )
    places = len(x)
    mask = torch.ones(places, places, dtype=torch.bool).tril()
    mask[:, : TEXT_TOKENS - valid] = False
    mask |= torch.eye(places, dtype=torch.bool)
    factors = turns(len(tokens))
    for layer in range(LAYERS):
        own = {
            name.removeprefix(f"layers.{layer}."): weight
            for name, weight in weights.items()
            if name.startswith(f"layers.{layer}.")
        }
        qkv = linear(norm(x, own["attention_norm.weight"]), own["attention.wqkv.weight"])
        heads = [part.view(places, -1, HEAD).transpose(0, 1) for part in qkv.chunk(3, -1)]
        query, key = (rotate(part, factors) for part in heads[:2])
        scores = query @ key.transpose(1, 2) / HEAD**0.5
        mixed = scores.masked_fill(~mask, -torch.inf).softmax(-1) @ heads[2]
        x = x + linear(mixed.transpose(0, 1).flatten(1), own["attention.wo.weight"])
        h = norm(x, own["ffn_norm.weight"])
        gate = silu(linear(h, own["feed_forward.w1.weight"]))
        x = x + linear(
            gate * linear(h, own["feed_forward.w3.weight"]), own["feed_forward.w2.weight"]
        )
    return linear(norm(x[-1], weights["norm.weight"]), weights["output.weight"])


def next_logits(target: LlamaGen, request: Request) -> families.NextLogits:
    weights = published_gpt()
    ids = target.encode(request.prompt)[0]
    with torch.inference_mode():
        encoded = target.text_encoder(input_ids=torch.tensor([ids])).last_hidden_state[0]
    filling = torch.zeros(TEXT_TOKENS - len(ids), TEXT_WIDTH)
    texts = [torch.cat([filling, encoded]), weights["cls_embedding.uncond_embedding"]]

    @torch.inference_mode()
    def laws(tokens: list[int], branches: int) -> torch.Tensor:
        return torch.stack(
            [official_logits(weights, text, len(ids), tokens) for text in texts[:branches]]
        )

    return laws


@pytest.mark.parametrize(
    ("guidance", "drafter", "sampler"),
    [
        (1.0, "jacobi", "full"),
        (2.0, "jacobi", "top-k-p"),
        (2.0, "jacobi", "greedy"),
        (2.0, "plain", "full"),
    ],
)
def test_it_gives_the_tokens_of_the_reference(
    target: LlamaGen, guidance: float, drafter: str, sampler: str
) -> None:
    families.check_exact(
        target,
        lambda request: next_logits(target, request),
        families.requests(PROMPTS, guidance, families.SAMPLERS[sampler]),
        drafter=drafter,
        slots=2,
    )


def test_images_join_and_leave(target: LlamaGen) -> None:
    """One slot, then two slots of three images: positions follow an image that moves."""
    asked = [
        *families.requests(PROMPTS, 2.0, SamplerConfig()),
        Request(prompt="x", seed=9, guidance=2.0),
    ]
    alone, _ = families.session_tokens(target, "plain", asked, slots=1)
    shared, _ = families.session_tokens(target, "jacobi", asked, slots=2)
    assert alone == shared


def test_every_node_of_a_tree_has_the_law_of_its_way(target: LlamaGen) -> None:
    asked = families.requests(PROMPTS, 2.0, SamplerConfig())
    families.check_trees(target, lambda request: next_logits(target, request), asked)


def test_pixels_are_those_of_the_image_tokenizer(target: LlamaGen) -> None:
    tokens = torch.randint(CODES, (2, GRID**2), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        decoded = janus_vq().decode(tokens).clamp(-1, 1)
    pixels = target.pixels(tokens)
    assert pixels.shape == (2, GRID * PATCH, GRID * PATCH, 3)
    wanted = ((decoded + 1) * 127.5).round().permute(0, 2, 3, 1)
    assert (pixels.float() - wanted).abs().max() <= 1  # batches of convolutions round differently


def test_conversion_loses_no_weight(folder: Path) -> None:
    made, published = load_file(folder / "model.safetensors"), published_gpt()
    published.pop("freqs_cis")
    assert sum(w.numel() for w in made.values()) == sum(w.numel() for w in published.values())
    totals = [sorted(float(w.double().sum()) for w in made.values() if w.ndim == 1)]
    totals.append(sorted(float(w.double().sum()) for w in published.values() if w.ndim == 1))
    assert totals[0] == totals[1]


def test_the_official_sampler_is_the_default(target: LlamaGen) -> None:
    assert target.default_guidance == 7.5
    assert target.default_sampler == SamplerConfig(top_k=1000)
    assert target.prompt_limit == TEXT_TOKENS


def test_prompts_are_put_in_lower_case(target: LlamaGen) -> None:
    assert target.encode("A red  apple") == target.encode("a red apple")


def test_prompts_end_as_t5_reads_them(target: LlamaGen) -> None:
    """Its tokenizer puts an end behind every text; a copy may have lost that."""
    spelled = target._tokenizer.convert_ids_to_tokens(target.encode("a red apple")[0])
    assert spelled[-1] == "</s>"
    assert spelled.count("</s>") == 1


def test_a_long_prompt_and_a_negative_prompt_are_refused(target: LlamaGen) -> None:
    with pytest.raises(ValueError, match=f"reads up to {TEXT_TOKENS}"):
        target.encode("a red apple and a green tree " * 5)
    with pytest.raises(ValueError, match="reads no negative prompt"):
        target.encode("a", "b")


def without(weights: Weights, part: str) -> Weights:
    return {name: weight for name, weight in weights.items() if part not in name}


@pytest.mark.parametrize(
    ("weights", "complaint"),
    [
        (lambda: without(published_gpt(), "cls_embedding"), "reads class labels, not text"),
        (lambda: without(published_gpt(), "layers.0."), "no whole LlamaGen checkpoint"),
        (lambda: without(published_gpt(), "layers.1.feed_forward.w2"), "no whole LlamaGen"),
        (lambda: published_gpt() | {"layers.0.other.weight": torch.zeros(1)}, "no whole LlamaGen"),
    ],
    ids=["class labels", "a layer less", "a weight less", "a weight more"],
)
def test_other_checkpoints_are_refused_and_nothing_is_written(
    published: Path, tmp_path: Path, weights: Callable[[], Weights], complaint: str
) -> None:
    torch.save(weights(), tmp_path / "gpt.pt")
    with pytest.raises(ValueError, match=complaint):
        convert(published, tmp_path / "out", gpt=tmp_path / "gpt.pt")
    assert not (tmp_path / "out").exists()


def test_sizes_are_square(published: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="squares of whole cells, got 64 x 80"):
        convert(published, tmp_path / "out", size=(80, 64))


@pytest.mark.parametrize("damaged", ["model.safetensors", "vq.safetensors"])
@pytest.mark.parametrize("how", ["missing", "truncated"])
def test_a_broken_folder_is_refused(folder: Path, tmp_path: Path, damaged: str, how: str) -> None:
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    whole = (tmp_path / damaged).read_bytes()
    if how == "missing":
        (tmp_path / damaged).unlink()
    else:
        (tmp_path / damaged).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="cannot load"):
        load_target(str(tmp_path), dtype=torch.float32, device=CPU)
