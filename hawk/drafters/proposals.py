"""Proposals: the drafts of the next steps, and the tree that is made of them.

Whatever a drafter knows becomes scores of tokens for each step ahead. The best tokens under the
noise are the drafts of a step; a tree offers them.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from hawk.decoding.drafter import DrafterConfig, Feedback
from hawk.decoding.tree import Tree
from hawk.drafters.draft_sampler import DraftSampler
from hawk.drafters.static_tree import StaticTree

STEPS = 12  # steps ahead that are drafted
DRAFTS = 6  # drafts of a step
MOST_NODES = 32
SHORT = 4  # shortness, in steps, beyond which laws are not told apart


class Proposals:
    """Drafts by slot.

    Args:
        config: Configuration of the drafter.
        sources: Number of laws from which the drafts of a step are drawn in turn.

    Attributes:
        ahead_J: int64, 1, 2, ... STEPS.
    """

    def __init__(self, config: DrafterConfig, sources: int = 1) -> None:
        slots, device, vocabulary = config.slots, config.device, config.identity.vocabulary
        self._sampler = DraftSampler(by_chance=config.by_chance)
        self._sources, self._device = sources, device
        self._used = DRAFTS if config.branching else 1
        self._most_nodes = MOST_NODES if config.branching else STEPS + 1
        self._trees: dict[int, StaticTree] = {}
        self._tree = self._choose(1)
        self._vocabulary = vocabulary
        self.ahead_J = torch.arange(1, STEPS + 1, device=device)
        self._shape_S = torch.zeros(slots, dtype=torch.int64, device=device)
        self._drafts_SJM = torch.zeros(slots, STEPS, DRAFTS, dtype=torch.int64, device=device)
        # Laws that drafts were drawn from, source by source, where the rule asks for them.
        size = (slots if config.by_chance else 0, sources * STEPS, vocabulary)
        self._drawn_SQV = torch.zeros(size, device=device)

    def draft(self, roots_B: Tensor, nodes: int) -> Tree:
        """The tree of the best drafts; see `Drafter`."""
        rows = len(roots_B)
        made = self._tree = self._choose(min(nodes, self._most_nodes))
        depths_N = made.shapes.depths_ZN[0]
        tokens_BN = self._drafts_SJM[:rows, depths_N - 1, made.ranks_N]
        tokens_BN[:, 0] = roots_B
        tree = Tree(shapes=made.shapes, shape_B=self._shape_S[:rows], tokens_BN=tokens_BN)
        ranks_BN = made.ranks_N.expand(rows, -1)
        return self._sampler.tell(tree, ranks_BN, self._drawn_SQV[:rows], self._sources)

    def open(self, rows: int) -> tuple[Tensor, Tensor]:
        """`settle` for new images: a prompt's pass has one node, short of every step."""
        short_BJ = self.ahead_J.expand(rows, -1)
        return torch.zeros_like(short_BJ), short_BJ

    def settle(self, feedback: Feedback) -> tuple[Tensor, Tensor]:
        """int64 [B, J] twice: for each step ahead the node of the last tree whose law stands for it
        best, and the number of steps by which that law falls short; see `StaticTree`."""
        end_B = feedback.commit.end_B
        return self._tree.source_NJ[end_B], self._tree.short_NJ[end_B]

    def noise(self, feedback: Feedback, source: int = 0) -> Tensor:
        """Noise [B, J, V] of the steps ahead, under which the drafts of a source are drawn."""
        steps_BJ = feedback.steps_B[:, None] + self.ahead_J
        return self._sampler.noise(
            feedback.noise_at, feedback.seeds_B, steps_BJ, self._vocabulary, source
        )

    def offer(self, slots: slice, scores: Sequence[Tensor], noisy: Sequence[Tensor]) -> None:
        """Draw the drafts of the next steps.

        Args:
            slots: Slots of the rows.
            scores: Log-probabilities [B, J, V] of the steps ahead, of each source.
            noisy: `scores` plus what `noise` returns for each source.
        """
        self._drafts_SJM[slots] = self._sampler.best(noisy, DRAFTS)
        if self._sampler.by_chance:
            self._drawn_SQV[slots] = torch.cat(list(scores), dim=1)

    def move(self, source: int, target: int) -> None:
        self._drafts_SJM[target] = self._drafts_SJM[source]
        if self._sampler.by_chance:
            self._drawn_SQV[target] = self._drawn_SQV[source]

    def _choose(self, nodes: int) -> StaticTree:
        if nodes not in self._trees:
            self._trees[nodes] = StaticTree(nodes, STEPS, self._used, self._device)
        return self._trees[nodes]


def committed(feedback: Feedback, values_BN: Tensor) -> tuple[Tensor, Tensor]:
    """Steps [B, L] that the last pass committed, and the values of the nodes after which they were
    picked; entries from the commit's counts on mean nothing."""
    commit = feedback.commit
    levels = commit.path_BL.shape[1]
    first_B = feedback.steps_B + 1 - commit.counts_B
    steps_BL = first_B[:, None] + torch.arange(levels, device=first_B.device)
    return steps_BL, at_nodes(values_BN, commit.path_BL)


def at_nodes(values_BN: Tensor, nodes_BX: Tensor) -> Tensor:
    """Values [B, X, ...] of some nodes of each row."""
    rows_B1 = torch.arange(len(nodes_BX), device=nodes_BX.device)[:, None]
    return values_BN[rows_B1, nodes_BX]
