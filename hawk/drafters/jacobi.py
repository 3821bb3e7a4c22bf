"""jacobi: no training, any target. The last pass already holds laws for the steps ahead.

Speculative Jacobi decoding (Teng et al., arXiv 2410.01699) re-offers the target's own picks at the
nodes that were not accepted: their context was a little wrong, their law mostly is not. Here they
are re-offered under the shared noise, several a step, as a tree; beyond the last node the window is
extended with its law under the noise of the steps to come. The image is a grid, so each of these
laws is fused, log-linearly, with the one that the target had for the cell above.

Letters: B rows, J steps ahead, K tokens of a law, V vocabulary.
"""

from dataclasses import replace

import torch
from torch import Tensor

from hawk.budget import Budget
from hawk.drafters.base import Feedback, Needs
from hawk.drafters.guesses import Guesses
from hawk.drafters.pool import MOST_NODES, STEPS, Pool, at_nodes, committed
from hawk.drafters.ring import Ring
from hawk.identity import Identity
from hawk.tree import Tree

# Weights of a law and of the one above, found by grid search on an early model; first for laws
# of the very step, then for laws of an earlier step that stand in for it.
OWN_WEIGHTS = (0.7, 0.45)
ABOVE_WEIGHTS = (0.3, 0.5)


class Jacobi:
    """See `Drafter`."""

    name = "jacobi"
    most_nodes = MOST_NODES
    needs = Needs(laws=True)

    def __init__(
        self,
        identity: Identity,
        *,
        slots: int,
        budget: Budget,
        guesses: Guesses,
        device: torch.device,
    ) -> None:
        self._width = identity.grid.width
        self._pool = Pool(identity, slots, budget, guesses, device)
        self._laws = law_ring(identity, slots, device)
        self._own_weights = torch.tensor(OWN_WEIGHTS, device=device)
        self._above_weights = torch.tensor(ABOVE_WEIGHTS, device=device)

    def draft(self, roots_B: Tensor, budget: Budget) -> Tree:
        return self._pool.draft(roots_B, budget)

    def join(self, slots: range, feedback: Feedback) -> None:
        self.guess(slice(slots.start, slots.stop), feedback, *self._pool.open(len(slots)))

    def move(self, source: int, target: int) -> None:
        for part in (self._pool, self._laws):
            part.move(source, target)

    def observe(self, feedback: Feedback) -> None:
        rows = slice(0, len(feedback.steps_B))
        self.guess(rows, feedback, *self._pool.settle(feedback))

    def guess(self, slots: slice, feedback: Feedback, source_BJ: Tensor, short_BJ: Tensor) -> None:
        """Guesses of the next steps from the laws at the given nodes, each fused with the law of
        the cell above its step."""
        self._laws.put(slots, *committed(feedback, feedback.law.unfiltered_BNV))
        law = feedback.law
        scores_BJK = at_nodes(law.scores_BNK, source_BJ)
        ids = law.ids if law.ids.ndim == 1 else at_nodes(law.ids, source_BJ)
        above_BJK, known_BJ = above(self._laws, slots, feedback, self._pool.ahead_J - self._width)
        if ids.ndim > 1:
            above_BJK = above_BJK.gather(-1, ids.long())
        stands_in_BJ = (short_BJ > 0).long()
        own_BJ = torch.where(known_BJ, self._own_weights[stands_in_BJ], 1.0)
        weight_BJ = torch.where(known_BJ, self._above_weights[stands_in_BJ], 0.0)
        fused_BJK = scores_BJK * own_BJ[..., None] + above_BJK * weight_BJ[..., None]
        noise_BJK = self._pool.noise(feedback, ids)
        drafted = replace(law, scores_BNK=fused_BJK, ids=ids)
        self._pool.offer(slots, [drafted], [fused_BJK + noise_BJK], short_BJ)


def law_ring(identity: Identity, slots: int, device: torch.device) -> Ring:
    """Room for the laws of the last row and of what one pass reaches beyond it."""
    length = identity.grid.width + STEPS + 1
    return Ring(torch.zeros(slots, length, identity.vocabulary, device=device))


def above(ring: Ring, slots: slice, feedback: Feedback, offset_J: Tensor) -> tuple[Tensor, Tensor]:
    """Entries [B, J, ...] at some distance from the committed end, and whether they are there."""
    steps_BJ = feedback.steps_B[:, None] + offset_J
    known_BJ = (steps_BJ >= 0) & (steps_BJ <= feedback.steps_B[:, None])
    return ring.at(slots, steps_BJ), known_BJ
