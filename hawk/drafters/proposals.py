"""Proposals: the guesses of the next steps, and the tree that is made of them.

Whatever a drafter knows becomes scores of tokens for each step ahead. The pool draws the best of
them under the noise and offers them as a tree.

Letters: B rows, S slots, J steps ahead, M guesses a step, V vocabulary.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from hawk.decoding.drafter import Feedback
from hawk.decoding.grid import Identity
from hawk.decoding.tree import Tree
from hawk.drafters.draft_sampler import DraftSampler
from hawk.drafters.static_tree import StaticTree

STEPS = 12  # how far ahead is guessed at most
GUESSES = 6  # a step
MOST_NODES = 32
SHORT = 4  # laws that fall shorter of their step than so many steps are not told apart


class Proposals:
    """DraftSampler by slot.

    Args:
        identity: of the target.
        slots: images in flight at most.
        guesses: draws them, as the rule needs it.
        branching: whether a node may have more than one child.
        sources: how many laws a step has to draw from, in turn.

    Attributes:
        ahead_J: int64, 1, 2, ... up to STEPS.
    """

    def __init__(
        self,
        identity: Identity,
        slots: int,
        guesses: DraftSampler,
        device: torch.device,
        *,
        branching: bool,
        sources: int = 1,
    ) -> None:
        self._guesses, self._sources, self._device = guesses, sources, device
        self._used = GUESSES if branching else 1
        self._most_nodes = MOST_NODES if branching else STEPS + 1
        self._trees: dict[int, StaticTree] = {}
        self._tree = self._choose(1)
        self._vocabulary = identity.vocabulary
        self.ahead_J = torch.arange(1, STEPS + 1, device=device)
        self._shape_S = torch.zeros(slots, dtype=torch.int64, device=device)
        self._guesses_SJM = torch.zeros(slots, STEPS, GUESSES, dtype=torch.int64, device=device)
        # The laws that guesses were drawn from, source by source, where the rule asks for them.
        size = (slots if guesses.by_chance else 0, sources * STEPS, identity.vocabulary)
        self._drawn_SLV = torch.zeros(size, device=device)

    def draft(self, roots_B: Tensor, nodes: int) -> Tree:
        """The tree of the best guesses; see `Drafter`."""
        rows = len(roots_B)
        made = self._tree = self._choose(min(nodes, self._most_nodes))
        depths_N = made.shapes.depths_TN[0]
        tokens_BN = self._guesses_SJM[:rows, depths_N - 1, made.ranks_N]
        tokens_BN[:, 0] = roots_B
        tree = Tree(shapes=made.shapes, shape_B=self._shape_S[:rows], tokens_BN=tokens_BN)
        ranks_BN = made.ranks_N.expand(rows, -1)
        return self._guesses.tell(tree, ranks_BN, self._drawn_SLV[:rows], self._sources)

    def open(self, rows: int) -> tuple[Tensor, Tensor]:
        """As `settle`, for new images: their prompt's pass has one node, short of every step."""
        short_BJ = self.ahead_J.expand(rows, -1)
        return torch.zeros_like(short_BJ), short_BJ

    def settle(self, feedback: Feedback) -> tuple[Tensor, Tensor]:
        """For each step ahead, the node of the last tree whose law stands for it best, and how many
        steps that law falls short of it, int64 [B, J]; see `StaticTree`."""
        end_B = feedback.commit.end_B
        return self._tree.source_NJ[end_B], self._tree.short_NJ[end_B]

    def noise(self, feedback: Feedback, source: int = 0) -> Tensor:
        """The noise of the steps ahead [B, J, V] that guesses of a source are drawn under."""
        steps_BJ = feedback.steps_B[:, None] + self.ahead_J
        return self._guesses.noise(
            feedback.noise_at, feedback.seeds_B, steps_BJ, self._vocabulary, source
        )

    def offer(self, slots: slice, scores: Sequence[Tensor], noisy: Sequence[Tensor]) -> None:
        """Draw the guesses of the next steps.

        Args:
            scores: log-probabilities [B, J, V] of the steps ahead, one a source.
            noisy: the same with the noise of `noise`.
        """
        self._guesses_SJM[slots] = self._guesses.best(noisy, GUESSES)
        if self._guesses.by_chance:
            self._drawn_SLV[slots] = torch.cat(list(scores), dim=1)

    def move(self, source: int, target: int) -> None:
        self._guesses_SJM[target] = self._guesses_SJM[source]
        if self._guesses.by_chance:
            self._drawn_SLV[target] = self._drawn_SLV[source]

    def _choose(self, nodes: int) -> StaticTree:
        if nodes not in self._trees:
            self._trees[nodes] = StaticTree(nodes, STEPS, self._used, self._device)
        return self._trees[nodes]


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
