"""The oracle: plain decoding as slow and obvious as it gets.

Nothing here comes from `hawk`: the noise is written again in numpy, the model runs over the whole
sequence for every token without any cache, and the filters are those of transformers.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from transformers import (
    JanusForConditionalGeneration,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from hawk import SamplerConfig


def mix(x: np.ndarray) -> np.ndarray:
    x = x ^ (x >> np.uint32(16))
    x = x * np.uint32(0x7FEB352D)
    x = x ^ (x >> np.uint32(15))
    x = x * np.uint32(0x846CA68B)
    return x ^ (x >> np.uint32(16))


def gumbel(seed: int, step: int, vocabulary: int) -> torch.Tensor:
    """Noise of every token id at one step, float32 [vocabulary]."""
    with np.errstate(over="ignore"):
        golden = np.uint32(0x9E3779B9)
        low, high = np.uint32(seed & 0xFFFFFFFF), np.uint32(seed >> 32)
        key = mix(mix(np.array([low]) + golden) ^ high)
        key = mix(key ^ mix(np.array([step], np.uint32) * golden))
        word = mix(mix(np.arange(vocabulary, dtype=np.uint32) + key) ^ mix(key + golden))
    uniform = (word.astype(np.int32).astype(np.float64) + 0.5) / 2**32 + 0.5
    return torch.from_numpy(-np.log(-np.log(uniform))).float()


def warp(scores: torch.Tensor, sampler: SamplerConfig) -> torch.Tensor:
    """The filters of transformers, [1, V]; temperature 0 is left to the caller."""
    ids: Any = torch.zeros(1, 1, dtype=torch.int64)
    scores = scores.float()
    if sampler.temperature not in (0.0, 1.0):
        scores = TemperatureLogitsWarper(sampler.temperature)(ids, scores)
    if sampler.top_k:
        scores = TopKLogitsWarper(sampler.top_k)(ids, scores)
    if sampler.top_p < 1:
        scores = TopPLogitsWarper(sampler.top_p)(ids, scores)
    return scores


def unconditional(ids: list[int], bos: int, boi: int, pad: int) -> list[int]:
    return [token if token in (bos, boi) else pad for token in ids]


@torch.inference_mode()
def plain_decoding(
    model: JanusForConditionalGeneration,
    prompts: list[list[int]],
    cells: int,
    guidance: float,
    pick: Callable[[torch.Tensor, int], int],
) -> list[int]:
    """Tokens of one image. `prompts` are the conditional ids, and the unconditional ones behind."""
    tokens: list[int] = []
    text = model.get_input_embeddings()(torch.tensor(prompts))
    for step in range(cells):
        image = torch.tensor([tokens] * len(prompts), dtype=torch.int64)
        embeds = torch.cat([text, model.prepare_embeddings_for_image_generation(image)], dim=1)
        hidden = model.model.language_model(inputs_embeds=embeds).last_hidden_state[:, -1]
        logits = model.model.generation_head(hidden)
        if len(prompts) == 2:
            logits = logits[1:] + guidance * (logits[:1] - logits[1:])
        tokens.append(pick(logits, step))
    return tokens


def coupled_pick(seed: int, sampler: SamplerConfig) -> Callable[[torch.Tensor, int], int]:
    """The target's token: the best score under the noise of (seed, step)."""

    def pick(logits: torch.Tensor, step: int) -> int:
        noise = gumbel(seed, step, logits.shape[-1]) if sampler.temperature else 0
        return int((warp(logits, sampler) + noise).argmax())

    return pick


def raster_decoding(
    next_logits: Callable[[list[int]], torch.Tensor],
    cells: int,
    guidance: float,
    pick: Callable[[torch.Tensor, int], int],
) -> list[int]:
    """Tokens of one image, for any model.

    `next_logits` says what follows some tokens, [branches, V], the conditional branch first.
    """
    tokens: list[int] = []
    for step in range(cells):
        logits = next_logits(tokens)
        if len(logits) == 2:
            logits = logits[1:] + guidance * (logits[:1] - logits[1:])
        tokens.append(pick(logits, step))
    return tokens
