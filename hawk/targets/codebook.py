"""Codebook: pictures back to image tokens, by the nearest entry of a codebook."""

import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn.functional import unfold

from hawk.targets.source import Source

PATCHES_FILE = "codebook.safetensors"  # in the folder of a model whose tokens stand for patches
CHUNK = 1024  # cells whose distances are computed at a time


def scaled(pixels_BHW3: Tensor, size: tuple[int, int], name: str) -> Tensor:
    """Pictures as float32 [B, 3, H, W] from -1 to 1. ValueError where they are not of `size`."""
    height, width = pixels_BHW3.shape[1:3]
    if (height, width) != size:
        raise ValueError(
            f"{name} encodes pictures of {size[1]} x {size[0]} pixels, got {width} x {height}: "
            f"resize it"
        )
    return pixels_BHW3.permute(0, 3, 1, 2).float() / 127.5 - 1


def nearest(latents_BDHW: Tensor, codebook_VD: Tensor) -> Tensor:
    """Tokens int64 [B, T]: the codebook entry nearest to every cell, by Euclidean distance."""
    vectors = latents_BDHW.flatten(2).transpose(1, 2).flatten(0, 1).float()
    halves_V = codebook_VD.square().sum(1) / 2
    codes = [(part @ codebook_VD.T - halves_V).argmax(1) for part in vectors.split(CHUNK)]
    return torch.cat(codes).view(len(latents_BDHW), -1)


class Patches:
    """Encoder of models whose tokens stand for patches of pixels, as those of `emoji` do.

    Args:
        centres_VD: Patch of each token, values from -1 to 1, channels first.
    """

    def __init__(self, centres_VD: Tensor) -> None:
        self._centres_VD = centres_VD

    @classmethod
    def load(cls, source: Source) -> "Patches | None":
        """Patches of a model; None where it has none, but an encoder."""
        file = source.file(PATCHES_FILE)
        return None if file is None else cls(load_file(file)["centres"].float().to(source.device))

    def codes(self, images_B3HW: Tensor) -> Tensor:
        """Tokens int64 [B, T] of images with values from -1 to 1."""
        side = int((self._centres_VD.shape[1] // 3) ** 0.5)
        patches_BDT = unfold(images_B3HW, side, stride=side)
        return nearest(patches_BDT[..., None], self._centres_VD)
