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


@pytest.fixture(params=FAMILIES)
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """A fresh one for each test: they change its weights."""
    family: str = request.param
    if family == "janus":
        save_tiny_janus(tmp_path / "converted")
    elif conversion := published(family, tmp_path):
        hawk("convert", *conversion)
    return load_target(
        str(tmp_path / "converted"),
        dtype=torch.float32,
        device=torch.device("cpu"),
        size=SIZES.get(family),
    )


def code_vectors(target: Any) -> torch.Tensor:
    vq = target.vq if hasattr(target, "vq") else target.model.model.vqmodel
    return vq.quantize.embedding.weight


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
