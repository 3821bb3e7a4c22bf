"""Pictures back to tokens: the encoders of all families, and the patches of `emoji`."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from safetensors.torch import load_file
from torch import Tensor
from torch.nn.functional import normalize

from hawk import Pipeline
from hawk.targets import EMBEDDED, codebook, load_target
from hawk.targets.convert_chameleon import convert_chameleon
from hawk.targets.convert_llamagen import convert_llamagen
from hawk.targets.janus import Janus
from jobs.emoji import codebook as recipe
from tests.tiny_families import (
    GRID,
    PATCH,
    save_tiny_chameleon,
    save_tiny_emu3,
    save_tiny_llamagen,
)

CPU = torch.device("cpu")


def noise(height: int, width: int) -> Tensor:
    """Two pictures, uint8 [2, height, width, 3]."""
    generator = torch.Generator().manual_seed(0)
    return torch.randint(256, (2, height, width, 3), generator=generator, dtype=torch.uint8)


def scaled(pixels: Tensor) -> Tensor:
    return pixels.permute(0, 3, 1, 2).float() / 127.5 - 1


def normalised_codes(vq: Any, pixels: Tensor) -> Tensor:
    """As VectorQuantizer.forward of github.com/FoundationVision/LlamaGen at 5a50452, whose image
    tokenizer Janus took over; that of transformers does not normalise."""
    latents = normalize(vq.quant_conv(vq.encoder(scaled(pixels))).permute(0, 2, 3, 1), dim=-1)
    entries = normalize(vq.quantize.embedding.weight, dim=-1)
    return torch.cdist(latents.flatten(1, 2), entries[None]).argmin(-1)


@torch.inference_mode()
def test_janus_and_llamagen_compare_unit_vectors(tiny: Janus, tmp_path: Path) -> None:
    save_tiny_llamagen(tmp_path)
    convert_llamagen(
        tmp_path / "gpt.pt",
        tmp_path / "llamagen",
        vq=tmp_path / "vq.pt",
        size=(16 * GRID, 16 * GRID),
        text_encoder=str(tmp_path / "text_encoder"),
    )
    llamagen: Any = load_target(str(tmp_path / "llamagen"), dtype=torch.float32, device=CPU)
    janus_vq: Any = tiny.model.model.vqmodel
    for target, vq, side in ((tiny, janus_vq, 12), (llamagen, llamagen.vq, 80)):
        with torch.no_grad():  # entries of unlike lengths, so that it matters
            lengths = torch.rand(vq.config.num_embeddings, 1, generator=torch.manual_seed(1))
            before = vq.quantize.embedding.weight.clone()
            vq.quantize.embedding.weight.mul_(lengths * 3)
        codes = target.codes(noise(side, side))
        assert torch.equal(codes, normalised_codes(vq, noise(side, side)))
        assert not torch.equal(codes.flatten(), vq.encode(scaled(noise(side, side))).image_tokens)
        vq.quantize.embedding.weight.data = before


@torch.inference_mode()
def test_emu3_and_chameleon_encode_as_transformers(tmp_path: Path) -> None:
    save_tiny_emu3(tmp_path / "emu3")
    size = (7 * PATCH, 3 * PATCH)
    emu3: Any = load_target(str(tmp_path / "emu3"), dtype=torch.float32, device=CPU, size=size)
    pictures = noise(*size)
    sizes = torch.tensor([size, size])
    theirs = emu3.model.model.vqmodel.encode(scaled(pictures), sizes).image_tokens
    assert torch.equal(emu3.codes(pictures), torch.stack(theirs).flatten(1))

    save_tiny_chameleon(tmp_path / "hf", tmp_path / "vqgan.ckpt", resolution=10)
    out = tmp_path / "anole"
    convert_chameleon(
        tmp_path / "hf", out, family="chameleon", vqgan=tmp_path / "vqgan.ckpt", size=None
    )
    anole: Any = load_target(str(out), dtype=torch.float32, device=CPU)
    encoder = anole.model.model.vqmodel
    encoder.quantize.embedding.weight.data = anole.vq.quantize.embedding.weight.data
    pictures = noise(10, 10)
    assert torch.equal(
        anole.codes(pictures).flatten(), encoder.encode(scaled(pictures)).image_tokens
    )


def test_emoji_encodes_patches_as_it_was_trained() -> None:
    pipeline = Pipeline.from_pretrained("emoji", drafter="plain", slots=1)
    picture = Image.new("RGB", (64, 64), "white")
    ImageDraw.Draw(picture).ellipse((10, 10, 50, 50), fill="red", outline="black")
    tokens = pipeline.encode(picture)
    centres = load_file(EMBEDDED["emoji"] / codebook.PATCHES_FILE)["centres"]
    assert tokens == recipe.encode(np.array(picture)[None], centres)[0].tolist()
    again = np.array(pipeline.decode(tokens)).astype(float)
    assert np.abs(again - np.array(picture)).mean() < 12  # of 255


@pytest.mark.parametrize("size", [(64, 12), (12, 13)])
def test_a_picture_of_another_size_is_refused(tiny: Janus, size: tuple[int, int]) -> None:
    pipeline = Pipeline(tiny, drafter="plain", rule="coupled", slots=1)
    assert len(pipeline.encode(Image.new("L", (12, 12)))) == 36
    with pytest.raises(ValueError, match=f"12 x 12 pixels, got {size[0]} x {size[1]}: resize it"):
        pipeline.encode(Image.new("RGB", size))


def test_distances_do_not_depend_on_how_many_cells_are_computed_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    generator = torch.Generator().manual_seed(0)
    latents, entries = torch.randn(2, 4, 3, 5, generator=generator), torch.randn(9, 4)
    whole = codebook.nearest(latents, entries)
    monkeypatch.setattr(codebook, "CHUNK", 7)
    assert torch.equal(codebook.nearest(latents, entries), whole)
    wanted = torch.cdist(latents.flatten(2).transpose(1, 2), entries[None]).argmin(-1)
    assert torch.equal(whole, wanted)
