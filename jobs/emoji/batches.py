"""Batches that the language model learns from: captions, codes, and what it is shown of them."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from jobs.emoji.dataset import EmojiData
from jobs.emoji.text import BOI, token_id

CAPTION_DROP = 0.1
# Up to this share of the codes that an image is continued from are those of another image, so that
# the caption must be heard: without it the model recites training images from their first rows.
NOISE = 0.3
# In this share of the rows codes are hidden instead, from none to all of them: a row of which
# nothing is seen teaches the caption at each of its 256 codes, not at the first few only.
HIDDEN_ROWS = 0.5
HIDDEN = -1
CAPTION_WEIGHTS = np.array([3, 4, 2, 2, 1, 2]) / 14  # the templates' own weights in the data


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Captions of one length and the codes of their images.

    Attributes:
        text: int64 [n, length], BOS first and BOI last.
        seen: int64 [n, 256], what the model reads; `HIDDEN` is read as zeros.
        codes: int64 [n, 256], what it is to say.
    """

    text: Tensor
    seen: Tensor
    codes: Tensor

    def to(self, device: torch.device) -> "Batch":
        """The same on a device."""
        return Batch(**{name: rows.to(device) for name, rows in vars(self).items()})


@dataclass(frozen=True, kw_only=True)
class Split:
    """A split ready for training: codes is uint16 [rows, 256]."""

    data: EmojiData
    codes: np.ndarray


Row = tuple[list[int], np.ndarray, np.ndarray]  # text, codes as seen, codes


def batches(
    split: Split,
    tokenizer: PreTrainedTokenizerFast,
    rng: np.random.Generator,
    per_concept: int,
    size: int,
) -> Iterator[Batch]:
    """Endless training batches; captions of equal length share one, so nothing is padded."""
    boi, pad = token_id(tokenizer, BOI), tokenizer.pad_token_id
    prompts = [
        [[*ids, boi] for ids in tokenizer(captions)["input_ids"]]
        for captions in split.data.captions
    ]
    waiting: dict[int, list[Row]] = defaultdict(list)
    while True:
        rows = split.data.epoch(rng, per_concept)
        codes = split.codes[rows].astype(np.int64)
        seen = _as_seen(codes, split.codes, rng)
        captions = rng.choice(len(CAPTION_WEIGHTS), len(rows), p=CAPTION_WEIGHTS)
        dropped = rng.random(len(rows)) < CAPTION_DROP
        for place, row in enumerate(rows):
            ids = prompts[row][captions[place]]
            if dropped[place]:  # the unconditional prompt of Janus: BOS, pads, BOI
                ids = [ids[0], *[pad] * (len(ids) - 2), boi]
            ready = waiting[len(ids)]
            ready.append((ids, seen[place], codes[place]))
            if len(ready) == size:
                yield collate(ready)
                ready.clear()


def _as_seen(codes: np.ndarray, every: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The codes [rows, 256] of an epoch with some hidden, or taken from other images."""
    rows = len(codes)
    hide = rng.random((rows, 1)) < HIDDEN_ROWS
    others = every[rng.integers(len(every), size=rows)].astype(np.int64)
    instead = np.where(hide, HIDDEN, others)
    share = rng.random((rows, 1))
    share = np.where(hide, share**0.5, NOISE * share)
    return np.where(rng.random(codes.shape) < share, instead, codes)


def collate(rows: list[Row]) -> Batch:
    """Rows whose captions have one length."""
    text, seen, codes = zip(*rows, strict=True)
    return Batch(
        text=torch.tensor(text),
        seen=torch.from_numpy(np.stack(seen).astype(np.int64)),
        codes=torch.from_numpy(np.stack(codes).astype(np.int64)),
    )
