"""jacobi: no training, any target. The last pass already holds laws for the steps ahead.

Speculative Jacobi decoding (Teng et al., arXiv 2410.01699) re-offers the target's own picks at the
nodes that were not accepted: their context was a little wrong, their law mostly is not. Here they
are re-offered under the shared noise, several a step, as a tree; beyond the last node the window is
extended with its law under the noise of the steps to come.

Letters: B rows, S slots, J steps ahead, M guesses a step, K tokens of a law.
"""

import torch
from torch import Tensor

from hawk.budget import Budget
from hawk.drafters.base import Feedback
from hawk.drafters.confidence import Confidence
from hawk.drafters.library import Library, Size
from hawk.tree import Tree

STEPS = 12  # how far ahead it guesses
GUESSES = 6  # a step
MOST_NODES = 32
# Kinds of guesses: laws of the very step, by their distance from the accepted end; then laws of
# steps before it, by how far they fall short.
NEAR = 4
SHORT = 4


class Jacobi:
    """See `Drafter`."""

    name = "jacobi"
    most_nodes = MOST_NODES

    def __init__(self, device: torch.device, slots: int, budget: Budget) -> None:
        self._library = Library(budget.options, STEPS, GUESSES, device)
        self._ahead_J = torch.arange(1, STEPS + 1, device=device)
        self._guesses_SJM = torch.zeros(slots, STEPS, GUESSES, dtype=torch.int64, device=device)
        self._bucket_SJ = torch.zeros(slots, STEPS, dtype=torch.int64, device=device)
        first = torch.linspace(0.5, 0.2, NEAR + SHORT, device=device)[:, None]
        rank = torch.arange(GUESSES, device=device)
        self._confidence = Confidence(torch.where(rank == 0, first, first * 0.3 * 0.6**rank))
        self._size: Size | None = None

    def draft(self, roots_B: Tensor, budget: Budget) -> Tree:
        rows = len(roots_B)
        tree, self._size = self._library.tree(
            roots_B,
            self._guesses_SJM[:rows],
            self._confidence.rates(self._bucket_SJ[:rows]),
            budget,
        )
        return tree

    def join(self, slots: range, feedback: Feedback) -> None:
        ahead_BJ = self._ahead_J.expand(len(slots), -1)
        where = slice(slots.start, slots.stop)
        self._guess(where, feedback, torch.zeros_like(ahead_BJ), ahead_BJ)

    def move(self, source: int, target: int) -> None:
        self._guesses_SJM[target] = self._guesses_SJM[source]
        self._bucket_SJ[target] = self._bucket_SJ[source]

    def observe(self, feedback: Feedback) -> None:
        assert self._size is not None, "observe follows draft"
        commit, shape_B = feedback.commit, feedback.tree.shape_B
        rows = slice(0, len(shape_B))
        levels = min(STEPS, commit.tokens_BD.shape[1])
        hit_BJM = self._guesses_SJM[rows, :levels] == commit.tokens_BD[:, :levels, None]
        known_BJ = self._ahead_J[:levels] <= commit.counts_B[:, None]
        self._confidence.add(self._bucket_SJ[rows, :levels], hit_BJM, known_BJ)
        source_BJ = self._size.source_TNJ[shape_B, commit.end_B]
        short_BJ = self._size.short_TNJ[shape_B, commit.end_B]
        self._guess(rows, feedback, source_BJ, short_BJ)

    def _guess(self, slots: slice, feedback: Feedback, source_BJ: Tensor, short_BJ: Tensor) -> None:
        """Guesses of the next steps from the laws at the given nodes."""
        law = feedback.law.at(source_BJ)
        perturbed = law.perturbed(feedback.seeds_B, feedback.steps_B[:, None] + self._ahead_J)
        best = perturbed.topk(GUESSES, dim=-1)
        lead_BJ = best.values[..., 0] - best.values[..., 1]
        near = (self._ahead_J - 1).clamp(max=NEAR - 1)
        kind_BJ = torch.where(short_BJ == 0, near, NEAR - 1 + short_BJ.clamp(max=SHORT))
        self._guesses_SJM[slots] = law.token_ids(best.indices)
        self._bucket_SJ[slots] = self._confidence.file(kind_BJ, lead_BJ)
