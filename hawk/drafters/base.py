"""Drafter protocol: something cheap that proposes a Tree and is told what became of it.

Letters: B rows, N nodes, K tokens of a law, D hidden size.
"""

from dataclasses import dataclass
from typing import Literal, Protocol

from torch import Tensor

from hawk.budget import Budget
from hawk.sampler import Law
from hawk.tree import Tree
from hawk.verifier import Commit


@dataclass(frozen=True, kw_only=True)
class Feedback:
    """What a pass taught, for every row.

    Attributes:
        tree: the tree that was verified.
        law: the target's law after each of its nodes.
        hidden_BND: the target's last hidden state at each node.
        commit: what was accepted.
        seeds_B: int64, seed of each image.
        steps_B: int64, raster step of the last committed token, the next root.
    """

    tree: Tree
    law: Law
    hidden_BND: Tensor
    commit: Commit
    seeds_B: Tensor
    steps_B: Tensor


@dataclass(frozen=True, kw_only=True)
class Needs:
    """What a drafter reads of a Feedback besides tokens; a drafter elsewhere is sent no more.

    Attributes:
        hidden: hidden states of no nodes, of those that were committed, or of all.
        laws: the target's laws, of all nodes.
    """

    hidden: Literal["none", "committed", "all"] = "none"
    laws: bool = False


class Drafter(Protocol):
    """Proposes drafts for the active rows of a session; keeps its state by slot.

    Attributes:
        name: as users give it.
        most_nodes: largest tree it proposes, root included.
        needs: of what it is told.
    """

    name: str
    most_nodes: int
    needs: Needs

    def draft(self, roots_B: Tensor, budget: Budget) -> Tree:
        """A tree for each active row behind its last committed token."""
        ...

    def join(self, slots: range, feedback: Feedback) -> None:
        """New images in `slots`; the feedback has a row for each, the pass of its prompt."""
        ...

    def move(self, source: int, target: int) -> None:
        """The image of slot `source` goes on in slot `target`."""
        ...

    def observe(self, feedback: Feedback) -> None:
        """The outcome of the last pass over all active rows."""
        ...
