"""sjd and scd: speculative Jacobi decoding as published, to measure others beside it.

SJD (Teng et al., arXiv 2410.01699): a window of the next tokens is drafted by drawing each from the
law that the target had for it in the pass before, and tested by p / q. Every pass draws afresh. SCD
(So et al., arXiv 2510.24211): the draws of a step share their noise from pass to pass, so that a
token stays where its law did not move much. Both are meant for the rule `residual`; `jacobi` is
what became of them here.

Beyond the last node, where there is no law yet, its law stands in.

Letters: B rows, S slots, J steps ahead, K tokens of a law, V vocabulary, N nodes.
"""

from dataclasses import replace

import torch
from torch import Tensor

from hawk.budget import Budget
from hawk.drafters.base import Feedback, Needs
from hawk.drafters.guesses import Guesses
from hawk.drafters.pool import at_nodes
from hawk.identity import Identity
from hawk.tree import Shapes, Tree

WINDOW = 16  # drafted tokens, as in the scripts of SJD
FRESH_BIT = 40  # of a seed; above it the pass is written in, of which there are few


class Sjd:
    """See `Drafter`; the tree is a chain of `WINDOW` drafts, or of as many as may be."""

    name = "sjd"
    most_nodes = WINDOW + 1
    needs = Needs(laws=True)
    fresh = True  # noise in every pass

    def __init__(
        self,
        identity: Identity,
        *,
        slots: int,
        budget: Budget,
        guesses: Guesses,
        device: torch.device,
    ) -> None:
        self._guesses = guesses
        window = min(WINDOW, budget.most_nodes - 1)
        self._shapes = Shapes.chain(window, device)
        self._shape_S = torch.zeros(slots, dtype=torch.int64, device=device)
        self._ahead_J = torch.arange(1, window + 1, device=device)
        self._tokens_SJ = torch.zeros(slots, window, dtype=torch.int64, device=device)
        # The laws that tokens were drawn from, where the rule asks for them.
        size = (slots if guesses.by_chance else 0, window, identity.vocabulary)
        self._drawn_SJV = torch.zeros(size, device=device)

    def draft(self, roots_B: Tensor, budget: Budget) -> Tree:
        rows = len(roots_B)
        tokens_BN = torch.cat([roots_B[:, None], self._tokens_SJ[:rows]], dim=1)
        tree = Tree(shapes=self._shapes, shape_B=self._shape_S[:rows], tokens_BN=tokens_BN)
        first_BN = torch.zeros_like(tokens_BN)  # every node takes the one guess of its step
        return self._guesses.tell(tree, first_BN, self._drawn_SJV[:rows], sources=1)

    def join(self, slots: range, feedback: Feedback) -> None:
        self._guess(slice(slots.start, slots.stop), feedback)

    def move(self, source: int, target: int) -> None:
        self._tokens_SJ[target] = self._tokens_SJ[source]
        if self._guesses.by_chance:
            self._drawn_SJV[target] = self._drawn_SJV[source]

    def observe(self, feedback: Feedback) -> None:
        self._guess(slice(0, len(feedback.steps_B)), feedback)

    def _guess(self, slots: slice, feedback: Feedback) -> None:
        """Draw the next window from the laws of the last pass."""
        law = feedback.law
        last_node = feedback.tree.tokens_BN.shape[1] - 1
        # In a chain the law after node n + j is of the j-th step after the token that follows n.
        source_BJ = (feedback.commit.end_B[:, None] + self._ahead_J).clamp(max=last_node)
        ids = law.ids if law.ids.ndim == 1 else at_nodes(law.ids, source_BJ)
        drawn = replace(law, scores_BNK=at_nodes(law.scores_BNK, source_BJ), ids=ids)
        steps_BJ = feedback.steps_B[:, None] + self._ahead_J
        seeds_B = feedback.seeds_B
        if self.fresh:  # every pass begins at another step
            seeds_B = seeds_B ^ ((feedback.steps_B + 1) << FRESH_BIT)
        tokens_BJ2, _ = self._guesses.draw([drawn], seeds_B, steps_BJ, 2)
        self._tokens_SJ[slots] = tokens_BJ2[..., 0]
        if self._guesses.by_chance:
            self._drawn_SJV[slots] = drawn.dense_scores()


class Scd(Sjd):
    """Draws that share their noise."""

    name = "scd"
    fresh = False
