"""Sampler: from the target's logits to its law, and from law and noise to tokens.

The only place where temperature, top-k and top-p exist. A token is the argmax of log-probability
plus Gumbel noise: an exact sample of the law (Gumbel-max), and the same one for whoever knows the
seed and the step.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from hawk.decoding import bounds

TRIES = 3  # winners that are tested before a law is filtered as a whole


@dataclass(frozen=True, kw_only=True)
class SamplerConfig:
    """Sampler settings of one image.

    Attributes:
        temperature: Divisor of the logits; 0 takes the most probable token (no noise).
        top_k: Number of most probable tokens to keep; 0 keeps all.
        top_p: Probability mass of most probable tokens to keep, at least one token.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0

    def __post_init__(self) -> None:
        # Plain numbers instead of numpy's; the dataclass is frozen.
        object.__setattr__(self, "temperature", bounds.temperature(self.temperature))
        object.__setattr__(self, "top_k", bounds.top_k(self.top_k))
        object.__setattr__(self, "top_p", bounds.top_p(self.top_p))

    def override(
        self,
        *,
        temperature: float | None = None,
        top_k: int | None = None,
        top_p: float | None = None,
    ) -> "SamplerConfig":
        """A copy with the settings that are given."""
        asked = {"temperature": temperature, "top_k": top_k, "top_p": top_p}
        given: dict[str, Any] = {name: value for name, value in asked.items() if value is not None}
        return replace(self, **given)


@dataclass(frozen=True, kw_only=True)
class Law:
    """The target's law at some positions.

    Attributes:
        unfiltered_BNV: float32, logits over temperature, before top-k and top-p.
        sampler: Sampler of the rows.
    """

    unfiltered_BNV: Tensor
    sampler: "Sampler"

    @cached_property
    def scores_BNV(self) -> Tensor:
        """float32 [B, N, V], unnormalised log-probabilities, -inf where a token is filtered out."""
        return self.sampler.filter(self.unfiltered_BNV)

    def at(self, nodes_BX: Tensor) -> "Law":
        """The law at some of the positions of each row, int64 [B, X]."""
        rows_B1 = torch.arange(len(nodes_BX), device=nodes_BX.device)[:, None]
        return Law(unfiltered_BNV=self.unfiltered_BNV[rows_B1, nodes_BX], sampler=self.sampler)

    def picks(self, noise_BNV: Tensor) -> tuple[Tensor, Tensor]:
        """The target's tokens int64 [B, N] under some noise, and their scores with noise, which are
        not finite where logits are not."""
        if self.sampler.filters and not self.sampler.may_ask:
            scores_BN, tokens_BN = (self.scores_BNV + noise_BNV).max(-1)
            return tokens_BN, scores_BN
        perturbed_BNV = self.unfiltered_BNV + noise_BNV
        scores_BN, tokens_BN = perturbed_BNV.max(-1)
        if self.sampler.filters:
            self.sampler.replace_filtered(self.unfiltered_BNV, perturbed_BNV, tokens_BN, scores_BN)
        return tokens_BN, scores_BN


class Sampler:
    """The sampler settings of B rows, as tensors.

    Both filters keep all tokens that score as much as the last one they keep, so that what is kept
    depends on the law alone. A token survives top-k if fewer than k tokens score more, and top-p if
    the tokens that score more have less than that mass.

    Args:
        configs: Settings of each row.
        vocabulary: Number of image tokens.
        device: Device of the laws.

    Attributes:
        configs: Settings of each row.
        noise_scale_B11: float32, 0 for rows at temperature 0, else 1.
        filters: True where any row has a top-k or top-p.
        may_ask: True where the host can read values without waiting for a device.
    """

    def __init__(
        self, configs: Sequence[SamplerConfig], vocabulary: int, device: torch.device
    ) -> None:
        self.configs = tuple(configs)
        scale = [config.temperature or 1.0 for config in configs]
        top_k = [min(config.top_k or vocabulary, vocabulary) for config in configs]
        self._tempered = any(value != 1 for value in scale)
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
        self._most_k = max((k for k in top_k if k < vocabulary), default=0)
        self._filters_p = any(config.top_p < 1 for config in configs)
        both = [c.top_p < 1 and k < vocabulary for c, k in zip(configs, top_k, strict=True)]
        self._both_B = torch.tensor(both, device=device)
        self.filters = bool(self._most_k) or self._filters_p
        self.may_ask = device.type == "cpu"

    def law(self, logits_BNV: Tensor) -> Law:
        """The law of logits: temperature, then top-k, then top-p, as in transformers."""
        unfiltered_BNV = logits_BNV.float()
        if self._tempered:
            unfiltered_BNV = unfiltered_BNV * self._inverse_temperature_B11
        return Law(unfiltered_BNV=unfiltered_BNV, sampler=self)

    def filter(self, scores_BNV: Tensor) -> Tensor:
        """The scores with -inf where top-k and top-p leave a token out."""
        rows, positions, _ = scores_BNV.shape
        size = (rows, positions, 1)
        return self._filtered(
            scores_BNV, self._top_k_B11.expand(size), self._top_p_B11.expand(size)
        )

    def replace_filtered(
        self, unfiltered_BNV: Tensor, perturbed_BNV: Tensor, tokens_BN: Tensor, scores_BN: Tensor
    ) -> None:
        """Replace winners that the filters leave out by the best that they keep, in place.

        Most winners survive, and a test of one takes no sorting. A winner that does not is struck
        out, and the next one is tested; after a few of them the law is filtered as a whole.

        Args:
            unfiltered_BNV: Scores without noise.
            perturbed_BNV: Scores with noise; overwritten.
            tokens_BN: Winners; changed in place.
            scores_BN: Scores of the winners, with noise; changed in place.
        """
        vocabulary = unfiltered_BNV.shape[-1]
        law_FV, noisy_FV = unfiltered_BNV.view(-1, vocabulary), perturbed_BNV.view(-1, vocabulary)
        positions = tokens_BN.shape[1]
        k_F1 = self._top_k_B11[:, 0].repeat_interleave(positions, 0)
        p_F1 = self._top_p_B11[:, 0].repeat_interleave(positions, 0)
        tokens_F, scores_F = tokens_BN.view(-1), scores_BN.view(-1)
        both_F = self._both_B.repeat_interleave(positions)
        at_F = (~both_F).nonzero().squeeze(1)
        for _ in range(TRIES):
            out_F = ~self._survives(law_FV[at_F], tokens_F[at_F, None], k_F1[at_F], p_F1[at_F])
            at_F = at_F[out_F]
            if not len(at_F):
                break
            noisy_FV[at_F, tokens_F[at_F]] = -torch.inf
            scores_F[at_F], tokens_F[at_F] = noisy_FV[at_F].max(-1)
        at_F = torch.cat([at_F, both_F.nonzero().squeeze(1)])
        if not len(at_F):
            return
        kept_FV = self._filtered(law_FV[at_F], k_F1[at_F], p_F1[at_F])
        noisy_FV = noisy_FV[at_F].masked_fill(kept_FV.isneginf(), -torch.inf)
        scores_F[at_F], tokens_F[at_F] = noisy_FV.max(-1)

    def _survives(self, law_FV: Tensor, tokens_F1: Tensor, k_F1: Tensor, p_F1: Tensor) -> Tensor:
        """bool [F], True where the filters keep a token; for rows with at most one filter."""
        above_FV = law_FV > law_FV.gather(-1, tokens_F1)
        survives_F1 = torch.ones_like(k_F1, dtype=torch.bool)
        if self._most_k:
            survives_F1 = above_FV.sum(-1, keepdim=True) < k_F1
        if self._filters_p:
            mass_F1 = (law_FV.softmax(-1) * above_FV).sum(-1, keepdim=True)
            survives_F1 &= (mass_F1 < p_F1) | (p_F1 == 1)
        # No token survives in NaN logits, so they pass here: their score tells them.
        return survives_F1.squeeze(-1) | law_FV.isnan().any(-1)

    def _filtered(self, scores: Tensor, k: Tensor, p: Tensor) -> Tensor:
        """`filter` by values: scores [..., V], k and p [..., 1]."""
        if self._most_k:
            best = scores.topk(self._most_k, dim=-1).values
            last = best.gather(-1, (k - 1).clamp(max=self._most_k - 1))
            scores = scores.masked_fill((scores < last) & (k < scores.shape[-1]), -torch.inf)
        if self._filters_p:
            ordered = scores.sort(dim=-1, descending=True).values
            mass = ordered.softmax(-1)
            needed = (mass.cumsum(-1) - mass < p).sum(-1, keepdim=True).clamp(min=1)
            last = ordered.gather(-1, needed - 1)
            scores = scores.masked_fill((scores < last) & (p < 1), -torch.inf)
        return scores
