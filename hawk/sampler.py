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
FEW = 64  # of the best tokens are mostly all that top-p keeps


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
        sampler: whose temperature and filters these are.
    """

    scores_BNK: Tensor
    ids: Tensor
    unfiltered_BNV: Tensor
    sampler: "Sampler"

    def perturbed(self, seeds_B: Tensor, steps_BN: Tensor) -> Tensor:
        """Scores plus the noise of (seed, step), [B, N, K]."""
        return self.noise(seeds_B, steps_BN, self.ids).add_(self.scores_BNK)

    def noise(self, seeds_B: Tensor, steps_BN: Tensor, ids: Tensor, stream: int = TOKENS) -> Tensor:
        """The noise of (seed, stream, step) for token ids [K] or [B, N, K]; 0 at temperature 0."""
        return gumbel(seeds_B, steps_BN, ids, stream).mul_(self.sampler.noise_scale_B11)

    def under(self, noise_BNV: Tensor) -> Tensor:
        """Scores plus noise that is there for the whole vocabulary, [B, N, K]."""
        own = noise_BNV if self.ids.ndim == 1 else noise_BNV.gather(-1, self.ids.long())
        return self.scores_BNK + own

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
    """The sampler settings of B rows, as tensors.

    Attributes:
        configs: they themselves.
        noise_scale_B11: float32, 0 for rows at temperature 0, else 1.
    """

    def __init__(
        self, configs: Sequence[SamplerConfig], vocabulary: int, device: torch.device
    ) -> None:
        self.configs = tuple(configs)
        scale = [config.temperature or 1.0 for config in configs]
        top_k = [min(config.top_k or vocabulary, vocabulary) for config in configs]
        self._inverse_temperature_B11 = torch.tensor(
            [1.0 / value for value in scale], device=device
        ).view(-1, 1, 1)
        self.noise_scale_B11 = torch.tensor(
            [float(config.temperature > 0) for config in configs], device=device
        ).view(-1, 1, 1)
        self._top_k_B11 = torch.tensor(top_k, device=device).view(-1, 1, 1)
        self._top_p_B11 = torch.tensor(
            [config.top_p for config in configs], dtype=torch.float32, device=device
        ).view(-1, 1, 1)
        self._filters_k = min(top_k) < vocabulary
        self._filters_p = any(config.top_p < 1 for config in configs)
        self._kept = min(max(top_k) + TIE_ROOM, vocabulary)
        narrow = all(config.top_p < 1 for config in configs)
        self._few = min(FEW, vocabulary) if narrow else vocabulary
        self._may_ask = device.type == "cpu"
        self._vocabulary_ids = torch.arange(vocabulary, dtype=torch.int32, device=device)

    def law(self, logits_BNV: Tensor) -> Law:
        """Temperature, then top-k, then top-p, as in transformers."""
        return self.filtered(logits_BNV.float() * self._inverse_temperature_B11)

    def filtered(self, unfiltered_BNV: Tensor, *, rough: bool = False) -> Law:
        """Top-k, then top-p, of scores that are over temperature already; `rough` if a law of the
        likeliest few will do where top-p would keep more, as it will to draft from.

        Both keep scores that equal the last one they keep; noise is drawn for survivors only.
        """
        if self._filters_k:
            scores, places = self._top_k(unfiltered_BNV)
        elif self._filters_p:
            scores, places = self._likeliest(unfiltered_BNV, rough=rough)
        else:
            scores, places = unfiltered_BNV, self._vocabulary_ids
        return Law(scores_BNK=scores, ids=places.int(), unfiltered_BNV=unfiltered_BNV, sampler=self)

    def _top_k(self, scores_BNV: Tensor) -> tuple[Tensor, Tensor]:
        """Scores and places of as many of the best as any row keeps, and after top-p."""
        best, places = scores_BNV.topk(self._kept, dim=-1)
        last = best.gather(-1, (self._top_k_B11 - 1).expand(*best.shape[:2], 1))
        best = best.masked_fill(best < last, -math.inf)
        if self._filters_p:
            mass_BNV = scores_BNV.masked_fill(scores_BNV < last, -math.inf).softmax(-1)
            best = self._top_p(best, mass_BNV.gather(-1, places))
        return best, places

    def _likeliest(self, scores_BNV: Tensor, *, rough: bool) -> tuple[Tensor, Tensor]:
        """Scores and places of the best after top-p, as few as will do: laws are mostly narrow,
        and a few are found much faster than all are sorted."""
        mass_BNV = scores_BNV.softmax(-1)
        kept, whole = self._few, len(self._vocabulary_ids)
        if not (rough or self._may_ask):
            kept = whole  # there to ask whether a few will do means to wait for the device
        while True:
            best, places = scores_BNV.topk(kept, dim=-1)
            best = self._top_p(best, mass_BNV.gather(-1, places))
            # Unless the border lies before the last of them, it may lie behind it.
            if rough or kept == whole or best[..., -1].isneginf().all():
                return best, places
            kept = min(4 * kept, whole)

    def _top_p(self, scores_BNK: Tensor, mass_BNK: Tensor) -> Tensor:
        """Scores in falling order without those that top-p leaves out.

        It keeps every score not below the last one that is needed, and mass is summed over the
        whole vocabulary: neither the order of equal scores nor how many are looked at matters.
        """
        before = mass_BNK.cumsum(-1) - mass_BNK
        needed = (before < self._top_p_B11).sum(-1, keepdim=True).clamp(min=1)
        last = scores_BNK.gather(-1, needed - 1)
        outside = (scores_BNK < last) & (self._top_p_B11 < 1)
        return scores_BNK.masked_fill(outside, -math.inf)
