"""Pool: the guesses of the next steps, and the tree that is made of them.

Whatever a drafter knows becomes scores of tokens for each step ahead. The pool draws the best of
them under the noise, remembers how such guesses came out, and offers the tree that is worth most.

Letters: B rows, S slots, J steps ahead, M guesses a step, K tokens of a law.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from hawk.budget import Budget
from hawk.drafters.base import Feedback
from hawk.drafters.confidence import LEADS, Confidence
from hawk.drafters.guesses import Guesses
from hawk.drafters.library import Library, Size
from hawk.identity import Identity
from hawk.sampler import Law
from hawk.tree import Tree

STEPS = 12  # how far ahead is guessed at most
GUESSES = 6  # a step
MOST_NODES = 32
# Kinds of guesses: with a law of the very step at hand, by its distance from the committed end;
# then with laws of steps before it, by how far they fall short.
NEAR = 4
SHORT = 4
# Hit rates to start from, of the best guess by its lead; see Confidence.
FIRST_HITS = (0.3, 0.32, 0.38, 0.43, 0.55, 0.63, 0.65)
SHORT_FACTOR = 0.85
NEXT_FACTORS = (0.45, 0.25, 0.18, 0.12, 0.08)


class Pool:
    """Guesses by slot.

    Args:
        identity: of the target.
        slots: images in flight at most.
        budget: its options are the sizes of trees, which it may forbid to branch.
        guesses: draws them, as the rule needs it.
        sources: how many laws a step has to draw from, in turn.

    Attributes:
        reach: how many steps ahead are guessed, J: all that the next tree may need. Where passes
            are full and trees small, the rest is not worth its time.
    """

    def __init__(
        self,
        identity: Identity,
        slots: int,
        budget: Budget,
        guesses: Guesses,
        device: torch.device,
        *,
        sources: int = 1,
    ) -> None:
        self._guesses, self._sources = guesses, sources
        self._library = Library(budget.options, STEPS, GUESSES, device, branching=budget.branching)
        self._confidence = Confidence(_prior(device))
        self.reach = self._guessed = STEPS
        self._every_J = torch.arange(1, STEPS + 1, device=device)
        self._guesses_SJM = torch.zeros(slots, STEPS, GUESSES, dtype=torch.int64, device=device)
        self._bucket_SJ = torch.zeros(slots, STEPS, dtype=torch.int64, device=device)
        # The laws that guesses were drawn from, source by source, where the rule asks for them.
        size = (slots if guesses.by_chance else 0, sources * STEPS, identity.vocabulary)
        self._drawn_SLV = torch.zeros(size, device=device)
        self._size: Size | None = None

    def draft(self, roots_B: Tensor, budget: Budget) -> Tree:
        """The tree of the best guesses; see `Drafter`."""
        rows = len(roots_B)
        hits_BJM = self._confidence.rates(self._bucket_SJ[:rows])
        hits_BJM[:, self._guessed :] = 0
        tree, self._size = self._library.tree(roots_B, self._guesses_SJM[:rows], hits_BJM, budget)
        if not self._guesses.by_chance:  # else how far is guessed must not depend on the images
            self.reach = self._size.reach
        ranks_BN = self._size.ranks_TN[tree.shape_B]
        return self._guesses.tell(tree, ranks_BN, self._drawn_SLV[:rows], self._sources)

    @property
    def ahead_J(self) -> Tensor:
        """1, 2, ... up to the reach."""
        return self._every_J[: self.reach]

    def open(self, rows: int) -> tuple[Tensor, Tensor]:
        """As `settle`, for new images: their prompt's pass has one node, short of every step."""
        short_BJ = self.ahead_J.expand(rows, -1)
        return torch.zeros_like(short_BJ), short_BJ

    def settle(self, feedback: Feedback) -> tuple[Tensor, Tensor]:
        """Count what became of the last guesses.

        Returns:
            int64 [B, J]: for each step ahead, the node of the last tree whose law stands for it
            best, and how many steps that law falls short of it; see `Size`.
        """
        assert self._size is not None, "settle follows draft"
        commit, shape_B = feedback.commit, feedback.tree.shape_B
        rows = len(shape_B)
        levels = min(self._guessed, commit.tokens_BD.shape[1])
        hit_BJM = self._guesses_SJM[:rows, :levels] == commit.tokens_BD[:, :levels, None]
        known_BJ = self._every_J[:levels] <= commit.counts_B[:, None]
        self._confidence.add(self._bucket_SJ[:rows, :levels], hit_BJM, known_BJ)
        where = shape_B, commit.end_B
        source_BJ, short_BJ = self._size.source_TNJ[where], self._size.short_TNJ[where]
        return source_BJ[:, : self.reach], short_BJ[:, : self.reach]

    def noise(self, feedback: Feedback, ids: Tensor, source: int = 0) -> Tensor:
        """The noise of the steps ahead [B, J, K] that guesses of a source are drawn under."""
        steps_BJ = feedback.steps_B[:, None] + self.ahead_J
        return self._guesses.noise(feedback.law, feedback.seeds_B, steps_BJ, ids, source)

    def offer(
        self,
        slots: slice,
        laws: Sequence[Law],
        scores: Sequence[Tensor],
        short_BJ: Tensor,
    ) -> None:
        """Draw the guesses of the next steps.

        Args:
            laws: of the steps ahead, one a source.
            scores: theirs with the noise of `noise`, for each source.
            short_BJ: as `settle` gave it.
        """
        self._guessed = self.reach
        tokens_BJM, lead_BJ = self._guesses.best(laws, scores, GUESSES)
        self._guesses_SJM[slots, : self.reach] = tokens_BJM
        if self._guesses.by_chance:
            self._drawn_SLV[slots] = torch.cat([law.dense_scores() for law in laws], dim=1)
        near_J = (self.ahead_J - 1).clamp(max=NEAR - 1)
        kind_BJ = torch.where(short_BJ == 0, near_J, NEAR - 1 + short_BJ.clamp(max=SHORT))
        self._bucket_SJ[slots, : self.reach] = self._confidence.file(kind_BJ, lead_BJ)

    def move(self, source: int, target: int) -> None:
        for rows in (self._guesses_SJM, self._bucket_SJ):
            rows[target] = rows[source]
        if self._guesses.by_chance:
            self._drawn_SLV[target] = self._drawn_SLV[source]


def committed(feedback: Feedback, values_BN: Tensor) -> tuple[Tensor, Tensor]:
    """The steps [B, D] that the last pass committed and the values of the nodes they were picked
    after; entries from the commit's counts on mean nothing."""
    commit = feedback.commit
    levels = commit.path_BD.shape[1]
    first_B = feedback.steps_B + 1 - commit.counts_B
    steps_BD = first_B[:, None] + torch.arange(levels, device=first_B.device)
    return steps_BD, at_nodes(values_BN, commit.path_BD)


def at_nodes(values_BN: Tensor, nodes_BX: Tensor) -> Tensor:
    """The values [B, X, ...] of some nodes of each row."""
    rows_B1 = torch.arange(len(nodes_BX), device=nodes_BX.device)[:, None]
    return values_BN[rows_B1, nodes_BX]


def _prior(device: torch.device) -> Tensor:
    """Hit rates [kinds, leads, M] before anything was seen."""
    first = torch.tensor(FIRST_HITS, device=device)
    assert len(first) == len(LEADS) + 1
    factors = torch.ones(NEAR + SHORT, 1, device=device)
    factors[NEAR:] = SHORT_FACTOR
    best_KL1 = (factors * first)[..., None]
    next_M = torch.tensor(NEXT_FACTORS, device=device)
    return torch.cat([best_KL1, (1 - best_KL1) * best_KL1 * next_M], dim=-1)
