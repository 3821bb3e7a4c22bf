"""jacobi: no training, any target. The last pass already holds laws for the steps ahead.

Speculative Jacobi decoding (Teng et al., arXiv 2410.01699) re-offers the target's own picks at the
nodes that were not accepted: their context was a little wrong, their law mostly is not. Here they
are re-offered under the shared noise, several a step, as a tree; beyond the last node the window is
extended with its law under the noise of the steps to come. The image is a grid, so each of these
laws is fused, log-linearly, with the one that the target had for the cell above.

Letters: B rows, S slots, J steps ahead, M guesses a step, K tokens of a law, V vocabulary, R ring.
"""

import torch
from torch import Tensor

from hawk.budget import Budget
from hawk.drafters.base import Feedback
from hawk.drafters.confidence import LEADS, Confidence
from hawk.drafters.guesses import Guesses
from hawk.drafters.library import Library, Size
from hawk.grid import Grid
from hawk.sampler import Law
from hawk.tree import Tree

STEPS = 12  # how far ahead it guesses
GUESSES = 6  # a step
MOST_NODES = 32
# Weights of a law and of the one above, found by grid search on an early model; first for laws
# of the very step, then for laws of an earlier step that stand in for it.
OWN_WEIGHTS = (0.7, 0.45)
ABOVE_WEIGHTS = (0.3, 0.5)
# Kinds of guesses: laws of the very step, by their distance from the accepted end; then laws of
# steps before it, by how far they fall short.
NEAR = 4
SHORT = 4
# Hit rates to start from, of the best guess by its lead; see Confidence.
FIRST_HITS = (0.3, 0.32, 0.38, 0.43, 0.55, 0.63, 0.65)
SHORT_FACTOR = 0.85
NEXT_FACTORS = (0.45, 0.25, 0.18, 0.12, 0.08)


class Jacobi:
    """See `Drafter`."""

    name = "jacobi"
    most_nodes = MOST_NODES

    def __init__(
        self,
        *,
        grid: Grid,
        vocabulary: int,
        slots: int,
        budget: Budget,
        guesses: Guesses,
        device: torch.device,
    ) -> None:
        self._width = grid.width
        self._library = Library(budget.options, STEPS, GUESSES, device)
        self._confidence = Confidence(_prior(device))
        self._ahead_J = torch.arange(1, STEPS + 1, device=device)
        self._levels_D = torch.arange(STEPS + 1, device=device)
        self._slots_S = torch.arange(slots, device=device)
        self._guesses_SJM = torch.zeros(slots, STEPS, GUESSES, dtype=torch.int64, device=device)
        self._bucket_SJ = torch.zeros(slots, STEPS, dtype=torch.int64, device=device)
        # Laws of the last row and of the steps that one pass can reach beyond it, by step modulo R:
        # what is written past the committed end is never read before it is written again.
        self._laws_SRV = torch.zeros(slots, grid.width + STEPS + 1, vocabulary, device=device)
        self._own_weights = torch.tensor(OWN_WEIGHTS, device=device)
        self._above_weights = torch.tensor(ABOVE_WEIGHTS, device=device)
        # The laws that guesses were drawn from, where the rule asks for them.
        self._guesses, told = guesses, slots if guesses.by_chance else 0
        self._drawn_SJV = torch.zeros(told, STEPS, vocabulary, device=device)
        self._size: Size | None = None

    def draft(self, roots_B: Tensor, budget: Budget) -> Tree:
        rows = len(roots_B)
        tree, self._size = self._library.tree(
            roots_B,
            self._guesses_SJM[:rows],
            self._confidence.rates(self._bucket_SJ[:rows]),
            budget,
        )
        ranks_BN = self._size.ranks_TN[tree.shape_B]
        return self._guesses.tell(tree, ranks_BN, self._drawn_SJV[:rows], sources=1)

    def join(self, slots: range, feedback: Feedback) -> None:
        where = slice(slots.start, slots.stop)
        ahead_BJ = self._ahead_J.expand(len(slots), -1)
        self._store_laws(where, feedback)
        self._guess(where, feedback, torch.zeros_like(ahead_BJ), ahead_BJ)

    def move(self, source: int, target: int) -> None:
        for rows in (self._guesses_SJM, self._bucket_SJ, self._laws_SRV):
            rows[target] = rows[source]
        if self._guesses.by_chance:
            self._drawn_SJV[target] = self._drawn_SJV[source]

    def observe(self, feedback: Feedback) -> None:
        assert self._size is not None, "observe follows draft"
        commit, shape_B = feedback.commit, feedback.tree.shape_B
        rows = slice(0, len(shape_B))
        levels = min(STEPS, commit.tokens_BD.shape[1])
        hit_BJM = self._guesses_SJM[rows, :levels] == commit.tokens_BD[:, :levels, None]
        known_BJ = self._ahead_J[:levels] <= commit.counts_B[:, None]
        self._confidence.add(self._bucket_SJ[rows, :levels], hit_BJM, known_BJ)
        self._store_laws(rows, feedback)
        source_BJ = self._size.source_TNJ[shape_B, commit.end_B]
        short_BJ = self._size.short_TNJ[shape_B, commit.end_B]
        self._guess(rows, feedback, source_BJ, short_BJ)

    def _store_laws(self, slots: slice, feedback: Feedback) -> None:
        """Keep the laws that the committed tokens were picked from."""
        commit, rows = feedback.commit, self._slots_S[slots, None]
        first_B = feedback.steps_B + 1 - commit.counts_B
        steps_BD = first_B[:, None] + self._levels_D[: commit.path_BD.shape[1]]
        laws_BDV = feedback.law.unfiltered_BNV[rows - slots.start, commit.path_BD]
        self._laws_SRV[rows, steps_BD % self._laws_SRV.shape[1]] = laws_BDV

    def _guess(self, slots: slice, feedback: Feedback, source_BJ: Tensor, short_BJ: Tensor) -> None:
        """Guesses of the next steps from the laws at the given nodes."""
        steps_BJ = feedback.steps_B[:, None] + self._ahead_J
        law = self._fused(slots, feedback, source_BJ, short_BJ)
        guesses_BJM, lead_BJ = self._guesses.draw([law], feedback.seeds_B, steps_BJ, GUESSES)
        near = (self._ahead_J - 1).clamp(max=NEAR - 1)
        kind_BJ = torch.where(short_BJ == 0, near, NEAR - 1 + short_BJ.clamp(max=SHORT))
        self._guesses_SJM[slots] = guesses_BJM
        if self._guesses.by_chance:
            self._drawn_SJV[slots] = law.dense_scores()
        self._bucket_SJ[slots] = self._confidence.file(kind_BJ, lead_BJ)

    def _fused(self, slots: slice, feedback: Feedback, source_BJ: Tensor, short_BJ: Tensor) -> Law:
        """The laws at the given nodes, each with the law of the cell above its step."""
        own, rows = feedback.law, self._slots_S[slots, None]
        scores_BJK = own.scores_BNK[rows - slots.start, source_BJ]
        ids = own.ids if own.ids.ndim == 1 else own.ids[rows - slots.start, source_BJ]
        above_BJ = feedback.steps_B[:, None] + self._ahead_J - self._width
        known_BJ = (above_BJ >= 0) & (above_BJ <= feedback.steps_B[:, None])
        above_BJK = self._laws_SRV[rows, above_BJ % self._laws_SRV.shape[1]]
        if ids.ndim > 1:
            above_BJK = above_BJK.gather(-1, ids.long())
        stands_in_BJ = (short_BJ > 0).long()
        own_BJ = torch.where(known_BJ, self._own_weights[stands_in_BJ], 1.0)
        weight_BJ = torch.where(known_BJ, self._above_weights[stands_in_BJ], 0.0)
        return Law(
            scores_BNK=scores_BJK * own_BJ[..., None] + above_BJK * weight_BJ[..., None],
            ids=ids,
            unfiltered_BNV=own.unfiltered_BNV,
            noise_scale_B11=own.noise_scale_B11,
        )


def _prior(device: torch.device) -> Tensor:
    """Hit rates [kinds, leads, M] before anything was seen."""
    first = torch.tensor(FIRST_HITS, device=device)
    assert len(first) == len(LEADS) + 1
    factors = torch.ones(NEAR + SHORT, 1, device=device)
    factors[NEAR:] = SHORT_FACTOR
    best_KL1 = (factors * first)[..., None]
    next_M = torch.tensor(NEXT_FACTORS, device=device)
    return torch.cat([best_KL1, (1 - best_KL1) * best_KL1 * next_M], dim=-1)
