"""Drafter protocol: something cheap that proposes a Tree and is told what became of it.

Letters: B rows, N nodes, D hidden size, V vocabulary, X steps.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, Protocol

from torch import Tensor

from hawk.decoding.sampler import Law
from hawk.decoding.tree import Tree
from hawk.decoding.verifier import Commit


@dataclass(frozen=True, kw_only=True)
class Feedback:
    """What a pass taught, for every row.

    Attributes:
        tree: the tree that was verified.
        law: the target's law after each of its nodes.
        picks_BN: int64, the target's token after each of its nodes, under the noise of its step.
        hidden_BND: the target's last hidden state at each node.
        commit: what was accepted.
        seeds_B: int64, seed of each image.
        steps_B: int64, raster step of the last committed token, the next root.
        longest: most tokens that any row committed, as far as the host knows: else most tokens
            that one could have.
        noise_at: float32 noise [B, X, V] of the raster steps int64 [B, X], that tokens are picked
            under.
    """

    tree: Tree
    law: Law
    picks_BN: Tensor
    hidden_BND: Tensor
    commit: Commit
    seeds_B: Tensor
    steps_B: Tensor
    longest: int
    noise_at: Callable[[Tensor], Tensor]

    def cleaned(self, healthy_BN: Tensor) -> "Feedback":
        """The feedback with zeros for laws and hidden states of nodes that are not healthy, which
        would spread through whatever a drafter keeps."""
        bad_BN1 = ~healthy_BN[..., None]
        unfiltered_BNV = self.law.unfiltered_BNV.masked_fill(bad_BN1, 0)
        return replace(
            self,
            law=replace(self.law, unfiltered_BNV=unfiltered_BNV),
            hidden_BND=self.hidden_BND.masked_fill(bad_BN1, 0),
        )


@dataclass(frozen=True, kw_only=True)
class FeedbackFields:
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
        feedback_fields: Fields of a Feedback that it reads.
    """

    name: str
    most_nodes: int
    feedback_fields: FeedbackFields

    def draft(self, roots_B: Tensor, nodes: int) -> Tree:
        """A tree of so many nodes, the root included, for each active row behind its last committed
        token; a smaller one where the drafter has no more to say."""
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
