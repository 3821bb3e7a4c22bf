"""Rules: when a draft is accepted."""

from typing import Protocol

from torch import Tensor

from hawk.tree import Tree


class Rule(Protocol):
    """Decides which drafts agree with the target.

    Attributes:
        name: as users give it.
        exact: whether images have the law of the target alone.
    """

    name: str
    exact: bool

    def matches(self, tree: Tree, picks_BN: Tensor) -> Tensor: ...


class Coupled:
    """A draft is accepted if and only if it equals the target's own pick after its parent.

    Target and drafter share one noise per (seed, step, token), so the committed tokens are those
    of plain decoding whatever was drafted (Daliri, Musco and Suresh, arXiv 2408.07978, for chains).
    """

    name = "coupled"
    exact = True

    def matches(self, tree: Tree, picks_BN: Tensor) -> Tensor:
        """bool [B, N]: the node's token is the pick at its parent; the root always matches."""
        parents_BN = tree.shapes.parents_TN[tree.shape_B]
        matches = tree.tokens_BN == picks_BN.gather(1, parents_BN)
        matches[:, 0] = True
        return matches


RULES: dict[str, type[Rule]] = {"coupled": Coupled}
