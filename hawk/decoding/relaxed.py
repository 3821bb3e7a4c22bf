"""Relaxed rules: they accept more, and images no longer have the law of the target.

At temperature 0 all of them accept the likeliest token and no other.
"""

import torch
from torch import Tensor

from hawk.decoding.noise import Noise
from hawk.decoding.rules import Trial, Verdict, by_odds, unless_greedy
from hawk.decoding.sampler import Law
from hawk.decoding.tree import Tree

CHUNK = 1024  # rows of the distance table in memory at once


class Typical:
    """A draft is accepted if the target finds it likely enough: p > min(epsilon, delta exp(-H)),
    H the entropy of p in nats; of all paths the longest is taken.

    Medusa (Cai et al., arXiv 2401.10774, "Typical acceptance"); the defaults are those of its
    `medusa_model.py` (`posterior_threshold`, `posterior_alpha`).

    Args:
        epsilon: Probability that is always enough, in (0, 1].
        delta: Share of exp(-H) that is enough, in (0, 1]; exp(-H) is the probability of a likely
            token if all likely ones were equal.
    """

    name = "typical"
    exact = False
    by_chance = False

    def __init__(self, *, epsilon: float = 0.09, delta: float = 0.3) -> None:
        _between("epsilon", epsilon, 0, 1)
        _between("delta", delta, 0, 1)
        self._epsilon, self._delta = epsilon, delta

    def judge(self, tree: Tree, law: Law, noise: Noise) -> Verdict:
        target_BNV = law.scores_BNV.double().softmax(-1)
        entropy_BN = -torch.special.xlogy(target_BNV, target_BNV).sum(-1)
        enough_BN = (self._delta * (-entropy_BN).exp()).clamp(max=self._epsilon)
        parents_BN = tree.parents_BN
        own_BN = target_BNV[
            torch.arange(len(parents_BN), device=parents_BN.device)[:, None],
            parents_BN,
            tree.tokens_BN,
        ]
        accepted_BN = own_BN > enough_BN.gather(1, parents_BN)
        accepted_BN[:, 0] = True
        extra_BN, best_BN = law.picks(noise.tokens_BNV)
        verdict = Verdict(accepted_BN=accepted_BN, extra_BN=extra_BN, healthy_BN=best_BN.isfinite())
        return unless_greedy(verdict, tree, law, noise)


class Neighbour:
    """`Residual` with a draft that stands for the tokens that look most like it: accepted with
    probability min(1, P(A) / q), where A is the draft and the longest run of its nearest codebook
    entries, nearest first, whose mass stays within a limit. After a refusal no token of A follows.

    LANTERN (Jang et al., arXiv 2410.03355, its relaxed acceptance condition with the bound on total
    variation): mass of the neighbours up to `limit`. LANTERN++ (Park et al., arXiv 2502.06352):
    mass of the whole of A up to `ratio` times the draft's own; checked against `evaluate_posterior`
    of github.com/jadohu/LANTERN, which takes a limit above 1 for such a ratio. That code clears all
    K neighbours after a refusal, and goes on with a uniform law where nothing is left; here only A
    is cleared, so that something always is.

    Args:
        codebook_VD: Codebook vector of each token.
        neighbours: K, largest number of nearest entries in A, all of them where there are fewer.
        limit: Mass that neighbours may add, in (0, 1].
        ratio: Mass that A may reach, in multiples of the draft's own mass, above 1; it replaces
            `limit` unless it is 0.
    """

    name = "neighbour"
    exact = False
    by_chance = True

    def __init__(
        self,
        codebook_VD: Tensor,
        *,
        neighbours: float = 1000,
        limit: float = 0.1,
        ratio: float = 0,
    ) -> None:
        most = len(codebook_VD) - 1
        _whole("neighbours", neighbours)
        _between("limit", limit, 0, 1)
        if ratio and not 1 < ratio < float("inf"):
            raise ValueError(f"ratio must be above 1, or 0 (use limit), got {ratio:g}")
        self._limit, self._ratio = limit, ratio
        self._nearest_VK = nearest(codebook_VD, min(int(neighbours), most))

    def judge(self, tree: Tree, law: Law, noise: Noise) -> Verdict:
        return by_odds(self.weigh, tree, law, noise)

    def weigh(self, rest_BNV: Tensor, trial: Trial) -> tuple[Tensor, Tensor]:
        """Odds P(A) / q, and p outside of A."""
        own_BN1 = rest_BNV.gather(-1, trial.tokens_BN1)
        around_BNK = self._nearest_VK[trial.tokens_BN1.squeeze(-1)].long()
        mass_BNK = rest_BNV.gather(-1, around_BNK).cumsum(-1)
        limit = (self._ratio - 1) * own_BN1 if self._ratio else self._limit
        inside_BNK = mass_BNK <= limit
        pooled_BN1 = own_BN1 + (mass_BNK * inside_BNK).amax(-1, keepdim=True)
        kept_BNV = rest_BNV.scatter(
            -1, around_BNK, rest_BNV.gather(-1, around_BNK) * ~(inside_BNK & trial.there_BN1)
        )
        return pooled_BN1 / trial.own_BN1, kept_BNV


class Cluster:
    """`Residual` with a draft that is weighed together with tokens like it: accepted with
    probability min(1, P(C) / Q(C)), where C is the draft and those of its neighbours in the order
    of p that are about as likely and look alike. After a refusal it goes on as `Residual`.

    GSD (So, Shin, Kook and Park, arXiv 2508.07747, its dynamic clusters), checked against
    `jacobi_iteration_lumina_mgpt.py` of github.com/junhyukso/GSD, whose defaults these are. There
    the limit of distance is for one model's embeddings; here it is in units of the mean squared
    distance of two entries of the codebook.

    Args:
        codebook_VD: Codebook vector of each token.
        ranks: Number of tokens that C may reach to either side in the order of p, 1 or more.
        gap: Largest difference of probabilities, in (0, 1].
        distance: Largest squared distance of vectors, above 0.
    """

    name = "cluster"
    exact = False
    by_chance = True

    def __init__(
        self, codebook_VD: Tensor, *, ranks: float = 7, gap: float = 0.15, distance: float = 0.5
    ) -> None:
        _whole("ranks", ranks)
        _between("gap", gap, 0, 1)
        _between("distance", distance, 0, float("inf"))
        vectors_VD = codebook_VD.double()
        # The mean squared distance of two entries is twice the variance, summed over dimensions.
        self._limit = distance * 2 * float(vectors_VD.var(0, correction=0).sum())
        self._vectors_VD, self._gap = vectors_VD, gap
        self._window_X = torch.arange(-int(ranks), int(ranks) + 1, device=codebook_VD.device)

    def judge(self, tree: Tree, law: Law, noise: Noise) -> Verdict:
        return by_odds(self.weigh, tree, law, noise)

    def weigh(self, rest_BNV: Tensor, trial: Trial) -> tuple[Tensor, Tensor]:
        """Odds P(C) / Q(C), and all of p."""
        own_BN1 = rest_BNV.gather(-1, trial.tokens_BN1)
        order_BNV = rest_BNV.argsort(dim=-1, stable=True)
        rank_BN1 = (order_BNV == trial.tokens_BN1).int().argmax(-1, keepdim=True)
        window_BNX = rank_BN1 + self._window_X
        there_BNX = (window_BNX >= 0) & (window_BNX < rest_BNV.shape[-1])
        tokens_BNX = order_BNV.gather(-1, window_BNX.clamp(0, rest_BNV.shape[-1] - 1))
        mass_BNX = rest_BNV.gather(-1, tokens_BNX)
        apart_BNXD = self._vectors_VD[tokens_BNX] - self._vectors_VD[trial.tokens_BN1]
        alike_BNX = apart_BNXD.square().sum(-1) < self._limit
        inside_BNX = there_BNX & alike_BNX & ((mass_BNX - own_BN1).abs() < self._gap)
        drawn_BN1 = (trial.law_BNV.gather(-1, tokens_BNX) * inside_BNX).sum(-1, keepdim=True)
        drawn_BN1 = torch.where(trial.there_BN1, drawn_BN1, 1.0)
        return (mass_BNX * inside_BNX).sum(-1, keepdim=True) / drawn_BN1, rest_BNV


def nearest(codebook_VD: Tensor, count: int) -> Tensor:
    """Nearest other entries of each entry, nearest first, int32 [V, count]."""
    vectors_VD, chunks = codebook_VD.double(), []
    for first in range(0, len(vectors_VD), CHUNK):
        distance = torch.cdist(vectors_VD[first : first + CHUNK], vectors_VD)
        distance.diagonal(offset=first).fill_(torch.inf)
        chunks.append(distance.topk(count, largest=False).indices.int())
    return torch.cat(chunks)


def _between(name: str, value: float, low: float, high: float) -> None:
    if not low < value <= high:
        raise ValueError(f"{name} must be above {low} and at most {high}, got {value:g}")


def _whole(name: str, value: float) -> None:
    if not (value >= 1 and float(value).is_integer()):
        raise ValueError(f"{name} must be a whole number from 1, got {value:g}")
