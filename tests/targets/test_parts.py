"""What drafters in training and relaxed rules read of a target, in every family."""

from pathlib import Path
from typing import Any

import pytest
import torch

from hawk.targets import load_target
from tests.targets.test_end_to_end import hawk, published
from tests.tiny import save_tiny_janus

FAMILIES = ("janus", "emu3", "anole", "lumina", "llamagen")
SIZES = {"emu3": (10, 8), "lumina": (32, 64)}


@pytest.fixture(scope="module", params=FAMILIES)
def family(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Its name, and the folder of a checkpoint."""
    name: str = request.param
    path = tmp_path_factory.mktemp(name)
    if name == "janus":
        save_tiny_janus(path / "converted")
    elif conversion := published(name, path):
        hawk("convert", *conversion)
    return name, path / "converted"


def load(family: tuple[str, Path], dtype: torch.dtype) -> Any:
    name, folder = family
    cpu = torch.device("cpu")
    return load_target(str(folder), dtype=dtype, device=cpu, size=SIZES.get(name))


@pytest.fixture
def target(family: tuple[str, Path]) -> Any:
    """A fresh one for each test: they change its weights."""
    return load(family, torch.float32)


def image_tokenizer(target: Any) -> Any:
    return target.vq if hasattr(target, "vq") else target.model.model.vqmodel


def code_vectors(target: Any) -> torch.Tensor:
    return image_tokenizer(target).quantize.embedding.weight


def picture_of(target: Any, token: int) -> torch.Tensor:
    return target.pixels(torch.full((1, target.grid.cells), token))


@torch.no_grad()
def test_codes_with_the_same_vector_look_the_same(target: Any) -> None:
    one, other = 5, 11
    assert target.codebook_VD.shape[0] == target.vocabulary
    assert not torch.equal(target.codebook_VD[one], target.codebook_VD[other])
    assert not torch.equal(picture_of(target, one), picture_of(target, other))
    code_vectors(target)[other] = code_vectors(target)[one]
    assert torch.equal(target.codebook_VD[one], target.codebook_VD[other])
    assert torch.equal(picture_of(target, one), picture_of(target, other))


@torch.no_grad()
def test_a_row_of_the_head_decides_the_logit_of_its_token(target: Any) -> None:
    token = 7
    hidden_13D = torch.randn(1, 3, target.hidden_size, generator=torch.Generator().manual_seed(0))
    before = target.head(hidden_13D)
    assert before.shape[2] == len(target.head_VX) == target.vocabulary
    target.head_VX[token] = 0
    after = target.head(hidden_13D)
    others = torch.arange(target.vocabulary) != token
    assert torch.equal(after[..., others], before[..., others])
    assert not torch.equal(after[..., token], before[..., token])
    assert after[..., token].unique().numel() == 1  # what is left is its bias


@torch.no_grad()
def test_embeddings_are_what_the_decoder_reads(target: Any) -> None:
    tokens_12 = torch.tensor([[3, target.vocabulary - 1]])
    assert target.embeddings_VX.shape[0] == target.vocabulary
    assert torch.equal(target.embeddings_VX[tokens_12], target.embed_image(tokens_12))


def test_images_are_decoded_in_float32_whatever_the_decoder_runs_in(
    target: Any, family: tuple[str, Path]
) -> None:
    half = load(family, torch.bfloat16)
    assert next(half._decoder.parameters()).dtype == torch.bfloat16
    stored, kept = (image_tokenizer(each).state_dict() for each in (target, half))
    assert all(torch.equal(weight, kept[name]) for name, weight in stored.items())
    tokens = torch.randint(64, (1, target.grid.cells), generator=torch.manual_seed(0))
    assert torch.equal(half.pixels(tokens), target.pixels(tokens))
