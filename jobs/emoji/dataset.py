"""The captioned emoji images as arrays, sampled by concept rather than by row."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class EmojiData:
    """One split of `emoji.npz`.

    Attributes:
        images: uint8 [rows, 64, 64, 3], white background.
        captions: six phrasings a row.
        concepts: row indices of each base concept (skin-tone variants of one emoji share one).
        rows: index of each row in the full file.
    """

    images: np.ndarray
    captions: list[list[str]]
    concepts: list[np.ndarray]
    rows: np.ndarray

    @classmethod
    def load(cls, path: Path, split: str) -> "EmojiData":
        with np.load(path) as archive:
            rows = np.flatnonzero(archive["split"] == split)
            if rows.size == 0:
                raise ValueError(f"{path} has no rows of split {split!r}")
            base = archive["base"][rows]
            concepts = [np.flatnonzero(base == name) for name in np.unique(base)]
            captions = [json.loads(text) for text in archive["captions_json"][rows]]
            return cls(
                images=archive["images"][rows], captions=captions, concepts=concepts, rows=rows
            )

    def epoch(self, rng: np.random.Generator, per_concept: int) -> np.ndarray:
        """A shuffled epoch: up to `per_concept` rows of every concept, whatever its variants."""
        picked = [
            rng.permutation(rows)[:per_concept] if len(rows) > per_concept else rows
            for rows in self.concepts
        ]
        return rng.permutation(np.concatenate(picked))

    def pixels(self, rows: Sequence[int] | np.ndarray) -> Tensor:
        """Float images in [-1, 1], [n, 3, 64, 64]."""
        return to_pixels(self.images[np.asarray(rows)])


def to_pixels(images: np.ndarray) -> Tensor:
    # contiguous: oneDNN convolutions of this size run 1.5x slower in channels_last
    return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous().float() / 127.5 - 1.0
