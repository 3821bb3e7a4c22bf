"""The codebook: k-means over 4 x 4 patches, so that a code says what a patch looks like.

A tokenizer trained end to end spreads what it knows over the whole grid: it gave the white ground
dozens of interchangeable codes, which a language model has to learn by heart. Codes of patches are
local: white is one code, and what is next to it predicts the rest.
"""

import numpy as np
import torch
from torch import Tensor

from jobs.emoji.architecture import CODE_DIM, CODEBOOK, PATCH_PIXELS
from jobs.emoji.dataset import to_pixels

IMAGES = 6000  # drawn for the sample
SAMPLE = 200_000  # patches
FLAT_SHARE = 0.25  # of the sample at most; most patches are one plain colour, mostly white
ROUNDS = 25


def patches(pixels: Tensor) -> Tensor:
    """[n, 3, 64, 64] to [n, 256, 48], raster order."""
    return torch.nn.functional.unfold(pixels, PATCH_PIXELS, stride=PATCH_PIXELS).transpose(1, 2)


def fit(images: np.ndarray, rng: np.random.Generator) -> Tensor:
    """Centres of k-means (Lloyd's algorithm, random start), [1024, 48]; the first one is white."""
    drawn = images[rng.integers(0, len(images), IMAGES)]
    pool = patches(to_pixels(drawn)).flatten(0, 1)
    flat = pool.std(1) < 0.05
    edges, plain = pool[~flat], pool[flat]
    # Plain patches repeat a few colours; one of each shade is enough.
    plain = torch.unique((plain * 16).round() / 16, dim=0)
    plain = plain[torch.from_numpy(rng.permutation(len(plain))[: int(SAMPLE * FLAT_SHARE)])]
    edges = edges[torch.from_numpy(rng.permutation(len(edges))[: SAMPLE - len(plain)])]
    sample = torch.cat([plain, edges])
    centres = sample[torch.from_numpy(rng.permutation(len(sample))[:CODEBOOK])]
    for _ in range(ROUNDS):
        centres[0] = 1.0
        nearest = assign(sample, centres)
        counts = torch.bincount(nearest, minlength=CODEBOOK)
        sums = torch.zeros_like(centres).index_add_(0, nearest, sample)
        centres = torch.where(counts[:, None] > 0, sums / counts.clamp(min=1)[:, None], centres)
        lost = torch.nonzero(counts == 0).flatten()
        centres[lost] = sample[torch.from_numpy(rng.integers(0, len(sample), len(lost)))]
    centres[0] = 1.0
    return centres


def assign(vectors: Tensor, centres: Tensor) -> Tensor:
    """Index of the nearest centre of each vector [n, 48]."""
    bias = centres.square().sum(1) / 2
    return torch.cat([(part @ centres.T - bias).argmax(1) for part in vectors.split(16384)])


def encode(images: np.ndarray, centres: Tensor) -> np.ndarray:
    """Codes of images, uint16 [n, 256]."""
    codes = [
        assign(patches(to_pixels(images[first : first + 256])).flatten(0, 1), centres)
        for first in range(0, len(images), 256)
    ]
    return torch.cat(codes).view(len(images), -1).numpy().astype(np.uint16)


def embedding(centres: Tensor) -> Tensor:
    """Unit vectors [1024, CODE_DIM] that keep the geometry of the centres: principal components
    and a constant, normalised as `JanusVQVAE.decode` will do."""
    centred = centres - centres.mean(0)
    components = torch.linalg.svd(centred, full_matrices=False)[2][: CODE_DIM - 1]
    projected = centred @ components.T
    projected = projected / projected.square().sum(1).mean().sqrt()
    constant = torch.ones(len(centres), 1)
    return torch.nn.functional.normalize(torch.cat([projected, constant], 1), dim=1)
