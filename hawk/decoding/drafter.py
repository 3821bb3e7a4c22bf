"""Drafter protocol: something cheap that proposes a Tree and is told what became of it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, Protocol

import torch
from torch import Tensor

from hawk.decoding.grid import Identity
from hawk.decoding.sampler import Law
from hawk.decoding.tree import Tree
from hawk.decoding.verifier import Commit


@dataclass(frozen=True, kw_only=True)
class Feedback:
    """The outcome of a pass, for every row.

    Attributes:
        tree: Tree that was verified.
        law: The target's law after each node.
        picks_BN: int64, the target's token after each node, under the noise of its step.
        hidden_BND: The target's last hidden state at each node.
        commit: Accepted path of each row, and its tokens.
        seeds_B: int64, seed of each image.
        steps_B: int64, raster step of the last committed token, the next root.
        longest: Largest number of tokens that a row committed; where the host does not know it yet,
            the largest number that a row can have committed.
        noise_at: Function from raster steps int64 [B, X] to the float32 noise [B, X, V] under which
            their tokens are picked.
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
        """The feedback with zeros in place of laws and hidden states that are not finite: those
        would spread through the state of a drafter.

        Args:
            healthy_BN: bool, True where the logits after a node are finite.
        """
        bad_BN1 = ~healthy_BN[..., None]
        unfiltered_BNV = self.law.unfiltered_BNV.masked_fill(bad_BN1, 0)
        return replace(
            self,
            law=replace(self.law, unfiltered_BNV=unfiltered_BNV),
            hidden_BND=self.hidden_BND.masked_fill(bad_BN1, 0),
        )


@dataclass(frozen=True, kw_only=True)
class FeedbackFields:
    """Fields of a Feedback that a drafter reads besides tokens; a remote drafter is sent no others.

    Attributes:
        hidden: Nodes whose hidden states it reads: none, those that were committed, or all.
        laws: True where it reads the target's laws, of all nodes.
    """

    hidden: Literal["none", "committed", "all"] = "none"
    laws: bool = False


@dataclass(frozen=True, kw_only=True)
class DrafterConfig:
    """Configuration of a drafter.

    Attributes:
        identity: Target that it drafts for.
        slots: Largest number of images in flight.
        by_chance: True where the rule needs drafts drawn by chance, see `Rule`.
        branching: True where a node may have more than one child.
        device: Device of its tensors.
    """

    identity: Identity
    slots: int
    by_chance: bool
    branching: bool
    device: torch.device


class Drafter(Protocol):
    """Proposes drafts for the active rows of a session; keeps its state by slot.

    Attributes:
        name: Name that users give.
        most_nodes: Nodes of the largest tree it proposes, root included.
        feedback_fields: Fields of a Feedback that it reads.
    """

    name: str
    most_nodes: int
    feedback_fields: FeedbackFields

    def draft(self, roots_B: Tensor, nodes: int) -> Tree:
        """One tree for each active row, rooted at its last committed token.

        Args:
            roots_B: int64, last committed token of each active row.
            nodes: Nodes of a tree, root included; a drafter with less to say returns fewer.
        """
        ...

    def join(self, slots: range, feedback: Feedback) -> None:
        """Take in new images. Row i of the feedback is the prompt's pass of the i-th of `slots`."""
        ...

    def move(self, source: int, target: int) -> None:
        """Move the image in slot `source` to slot `target`."""
        ...

    def observe(self, feedback: Feedback) -> None:
        """Learn from the last pass over all active rows."""
        ...


class NamedDrafter(Drafter, Protocol):
    """A drafter that users name, which its configuration alone makes."""

    def __init__(self, config: DrafterConfig) -> None: ...
