"""Guesses: drafts of coming steps, drawn from laws in the way that the rule needs.

A rule that accepts what equals the target's own pick is served best by the noise of that pick, so
that drafts are its likeliest values. A rule that weighs laws against each other needs drafts that
know nothing of pick and decision: they come under a noise of their own, with the laws that they
were drawn from. Drafters ask `Guesses` and need not know which it is.

Letters: B rows, N nodes, J steps ahead, M guesses a step, K tokens of a law, V vocabulary, L laws
(those of the first source, step by step, then those of the second, and so on).
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from hawk.noise import DRAFTS, TOKENS
from hawk.sampler import Law
from hawk.tree import Drawn, Tree


class Guesses:
    """Draws drafts.

    Args:
        by_chance: of the rule, see `hawk.rules.Rule`.
    """

    def __init__(self, *, by_chance: bool) -> None:
        self.by_chance = by_chance

    def draw(
        self, sources: Sequence[Law], seeds_B: Tensor, steps_BJ: Tensor, count: int
    ) -> tuple[Tensor, Tensor]:
        """Draw from each source in turn, no token twice: Gumbel-top-m (Kool, van Hoof and Welling,
        arXiv 1903.06059) takes one after the other without replacement.

        Args:
            sources: laws [B, J, K] of the same steps, at least one.
            seeds_B: int64, seed of each image's noise.
            steps_BJ: int64, raster step of each law.
            count: M, at least 2.

        Returns:
            tokens int64 [B, J, M], in the order to test them in, and how far the first source's
            best token leads its second [B, J], nats. Shapes of trees may depend on the lead: it is
            0 where guesses are drawn by chance.
        """
        scores = [
            law.scores_BNK + self.noise(law, seeds_B, steps_BJ, law.ids, source)
            for source, law in enumerate(sources)
        ]
        return self.best(sources, scores, count)

    def noise(
        self, law: Law, seeds_B: Tensor, steps_BJ: Tensor, ids: Tensor, source: int = 0
    ) -> Tensor:
        """The noise [B, J, K] that a source's drafts come under; `ids` as `Law.ids`."""
        return law.noise(seeds_B, steps_BJ, ids, DRAFTS + source if self.by_chance else TOKENS)

    def best(
        self, sources: Sequence[Law], scores: Sequence[Tensor], count: int
    ) -> tuple[Tensor, Tensor]:
        """As `draw`, from the sources' scores with their noise."""
        best = scores[0].topk(count, dim=-1)
        lead_BJ = best.values[..., 0] - best.values[..., 1]
        if self.by_chance:
            lead_BJ = torch.zeros_like(lead_BJ)
        if len(sources) == 1:
            return sources[0].token_ids(best.indices), lead_BJ
        return _in_turn(sources, scores, count), lead_BJ

    def tell(self, tree: Tree, ranks_BN: Tensor, scores_BLV: Tensor, sources: int) -> Tree:
        """The tree with where its nodes come from, if the rule asks for it.

        Args:
            tree: a node at depth d takes a guess of the d-th step.
            ranks_BN: int64, which guess of its step it takes.
            scores_BLV: `Law.dense_scores` of all sources.
            sources: how many.
        """
        if not self.by_chance:
            return tree
        steps = scores_BLV.shape[1] // sources
        which_BN = ranks_BN % sources * steps + (tree.depths_BN - 1).clamp(min=0)
        return replace(tree, drawn=Drawn(scores_BLV=scores_BLV, which_BN=which_BN))


def _in_turn(sources: Sequence[Law], scores: Sequence[Tensor], count: int) -> Tensor:
    """The best token of the first source, the best other one of the second, and so on."""
    picked: list[Tensor] = []
    for turn in range(count):
        law, left_BJK = sources[turn % len(sources)], scores[turn % len(sources)]
        for token_BJ1 in picked:
            left_BJK = left_BJK.masked_fill(law.ids == token_BJ1, -torch.inf)
        picked.append(law.token_ids(left_BJK.argmax(-1, keepdim=True)))
    return torch.cat(picked, -1)
