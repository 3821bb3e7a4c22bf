"""Sampler: from the target's logits to its law, and from law and noise to tokens.

The only place where temperature, top-k and top-p exist. A token is the argmax of log-probability
plus Gumbel noise: an exact sample of the law (Gumbel-max), and the same one for whoever knows the
seed and the step.

Letters: B rows, N positions, V image vocabulary, K tokens that may survive the filters, M picks.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from hawk.noise import TOKENS, gumbel

LEAST_TEMPERATURE = 1e-3  # below, logits divided by it are too large for float32
TIE_ROOM = 16  # a top-k threshold keeps equal scores too; this many of them have a place


@dataclass(frozen=True, kw_only=True)
class SamplerConfig:
    """How one image is sampled.

    Attributes:
        temperature: divides the logits; 0 takes the most probable token (no noise).
        top_k: keep the k most probable tokens; 0 keeps all.
        top_p: keep the most probable tokens up to this mass, at least one.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.temperature) and self.temperature >= 0):
            raise ValueError(f"temperature must be 0 or more, got {self.temperature}")
        if 0 < self.temperature < LEAST_TEMPERATURE:
            raise ValueError(
                f"temperature must be 0 or at least {LEAST_TEMPERATURE}, got {self.temperature}"
            )
        if self.top_k < 0:
            raise ValueError(f"top_k must be 0 (off) or more, got {self.top_k}")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p must be in (0, 1], got {self.top_p}")

    def override(
        self,
        *,
        temperature: float | None = None,
        top_k: int | None = None,
        top_p: float | None = None,
    ) -> "SamplerConfig":
        """The same but for what is given."""
        asked = {"temperature": temperature, "top_k": top_k, "top_p": top_p}
        given: dict[str, Any] = {name: value for name, value in asked.items() if value is not None}
        return replace(self, **given)


@dataclass(frozen=True, kw_only=True)
class Law:
    """Unnormalised log-probabilities after every filter.

    Attributes:
        scores_BNK: float32, -inf where a token was filtered out.
        ids: int32 token ids of the scores, [K] (the whole vocabulary) or [B, N, K].
        unfiltered_BNV: float32, logits over temperature, before top-k and top-p.
        noise_scale_B11: float32, 0 for rows at temperature 0, else 1.
    """

    scores_BNK: Tensor
    ids: Tensor
    unfiltered_BNV: Tensor
    noise_scale_B11: Tensor

    def perturbed(self, seeds_B: Tensor, steps_BN: Tensor) -> Tensor:
        """Scores plus the noise of (seed, step), [B, N, K]."""
        return self.noise(seeds_B, steps_BN, self.ids).add_(self.scores_BNK)

    def noise(self, seeds_B: Tensor, steps_BN: Tensor, ids: Tensor, stream: int = TOKENS) -> Tensor:
        """The noise of (seed, stream, step) for token ids [K] or [B, N, K]; 0 at temperature 0."""
        return gumbel(seeds_B, steps_BN, ids, stream).mul_(self.noise_scale_B11)

    def dense_scores(self) -> Tensor:
        """The scores of the whole vocabulary, [B, N, V]."""
        if self.ids.ndim == 1:
            return self.scores_BNK
        size = (*self.scores_BNK.shape[:2], self.unfiltered_BNV.shape[-1])
        empty = self.scores_BNK.new_full(size, -math.inf)
        return empty.scatter_(-1, self.ids.long(), self.scores_BNK)

    def token_ids(self, places_BNM: Tensor) -> Tensor:
        """int64 token ids at the given places of the K axis."""
        if self.ids.ndim == 1:
            return places_BNM  # the K axis is the vocabulary itself
        return self.ids.gather(-1, places_BNM).long()

    def picks(self, seeds_B: Tensor, steps_BN: Tensor) -> tuple[Tensor, Tensor]:
        """The target's tokens, int64 [B, N], and their perturbed scores: NaN from broken logits."""
        best = self.perturbed(seeds_B, steps_BN).max(-1, keepdim=True)
        return self.token_ids(best.indices).squeeze(-1), best.values.squeeze(-1)


class Sampler:
    """The sampler settings of B rows, as tensors."""

    def __init__(
        self, configs: Sequence[SamplerConfig], vocabulary: int, device: torch.device
    ) -> None:
        scale = [config.temperature or 1.0 for config in configs]
        top_k = [min(config.top_k or vocabulary, vocabulary) for config in configs]
        self._inverse_temperature_B11 = torch.tensor(
            [1.0 / value for value in scale], device=device
        ).view(-1, 1, 1)
        self._noise_scale_B11 = torch.tensor(
            [float(config.temperature > 0) for config in configs], device=device
        ).view(-1, 1, 1)
        self._top_k_B11 = torch.tensor(top_k, device=device).view(-1, 1, 1)
        self._top_p_B11 = torch.tensor(
            [config.top_p for config in configs], dtype=torch.float32, device=device
        ).view(-1, 1, 1)
        self._filters_k = min(top_k) < vocabulary
        self._filters_p = any(config.top_p < 1 for config in configs)
        self._kept = min(max(top_k) + TIE_ROOM, vocabulary)
        self._vocabulary_ids = torch.arange(vocabulary, dtype=torch.int32, device=device)

    def law(self, logits_BNV: Tensor) -> Law:
        """Temperature, then top-k, then top-p, as in transformers.

        top-k keeps every score not below the k-th best; noise is drawn for survivors only.
        """
        unfiltered = logits_BNV.float() * self._inverse_temperature_B11
        scores, ids = unfiltered, self._vocabulary_ids
        if self._filters_k or self._filters_p:
            scores, places = scores.topk(self._kept, dim=-1)
            ids = places.int()
        if self._filters_k:
            last = (self._top_k_B11 - 1).expand(*scores.shape[:2], 1)
            scores = scores.masked_fill(scores < scores.gather(-1, last), -math.inf)
        if self._filters_p:
            mass = scores.softmax(-1)
            before = mass.cumsum(-1) - mass
            outside = (before >= self._top_p_B11) & (self._top_p_B11 < 1)
            outside[..., 0] = False
            scores = scores.masked_fill(outside, -math.inf)
        return Law(
            scores_BNK=scores,
            ids=ids,
            unfiltered_BNV=unfiltered,
            noise_scale_B11=self._noise_scale_B11,
        )
