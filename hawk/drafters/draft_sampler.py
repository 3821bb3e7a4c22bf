"""DraftSampler: drafts of coming steps, drawn from laws in the way that the rule needs.

A rule that accepts what equals the target's own pick is served best by the noise of that pick, so
that drafts are the likeliest values of the pick. A rule that weighs laws against each other needs
drafts that know nothing of pick and decision: they come under a noise of their own, with the laws
that they were drawn from. A drafter need not know which kind of rule it serves.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from hawk.decoding.noise import DRAFTS, gumbel
from hawk.decoding.tree import Drawn, Tree


class DraftSampler:
    """Draws drafts.

    Args:
        by_chance: The rule's own `by_chance`, see `hawk.decoding.rules.Rule`.
    """

    def __init__(self, *, by_chance: bool) -> None:
        self.by_chance = by_chance

    def noise(
        self,
        noise_at: Callable[[Tensor], Tensor],
        seeds_B: Tensor,
        steps_BJ: Tensor,
        vocabulary: int,
        source: int = 0,
    ) -> Tensor:
        """float32 [B, J, V], the noise under which the drafts of some steps are drawn.

        Args:
            noise_at: Function of `Feedback`.
            seeds_B: int64, seed of each row.
            steps_BJ: int64, raster steps.
            vocabulary: Number of image tokens.
            source: Number of the source that drafts.
        """
        if not self.by_chance:
            return noise_at(steps_BJ)
        ids_V = torch.arange(vocabulary, dtype=torch.int32, device=seeds_B.device)
        return gumbel(seeds_B, steps_BJ, ids_V, DRAFTS + source)

    def best(self, scores: Sequence[Tensor], count: int) -> Tensor:
        """int64 [B, J, M], the best tokens of each source in turn, without repetition.

        Gumbel-top-m (Kool, van Hoof and Welling, arXiv 1903.06059) takes one after the other
        without replacement.

        Args:
            scores: Scores [B, J, V] of each source, its noise included.
            count: M, drafts of a step.
        """
        if len(scores) == 1:
            return scores[0].topk(count, dim=-1).indices
        picked: list[Tensor] = []
        for turn in range(count):
            left_BJV = scores[turn % len(scores)]
            for token_BJ1 in picked:
                left_BJV = left_BJV.scatter(-1, token_BJ1, -torch.inf)
            picked.append(left_BJV.argmax(-1, keepdim=True))
        return torch.cat(picked, -1)

    def tell(self, tree: Tree, ranks_BN: Tensor, scores_BQV: Tensor, sources: int) -> Tree:
        """The tree, with the laws that its drafts were drawn from where the rule asks for them.

        Args:
            tree: Tree whose nodes at depth d are drafts of the d-th step ahead.
            ranks_BN: int64, rank of each node among the drafts of its step.
            scores_BQV: Unnormalised log-probabilities without noise: the laws of the first source,
                step by step, then those of the second, and so on.
            sources: Number of sources.
        """
        if not self.by_chance:
            return tree
        steps = scores_BQV.shape[1] // sources
        which_BN = ranks_BN % sources * steps + (tree.depths_BN - 1).clamp(min=0)
        return replace(tree, drawn=Drawn(scores_BQV=scores_BQV, which_BN=which_BN))
