"""Tree: what a drafter proposes and the target verifies in one pass.

Node 0 is the root: the last committed token, whose keys and values the pass has to write anyway.
Nodes 1 .. N-1 are drafts, parents before children. Plain decoding is a tree with a root only, a
block is a tree of width one.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


class Shapes:
    """A few tree shapes of equal size, with the index tables that a pass reads, computed once.

    Args:
        parents: For each shape, the parent of each node, root first.
        device: Device of the tables.

    Attributes:
        parents_ZN: int64, parent of each node; the root is its own parent.
        depths_ZN: int64, depth of each node, 0 for the root.
        ancestors_ZNN: bool, True at [z, n, m] where m is n or an ancestor of n.
        path_ZNL: int64, node at each depth on the way from the root to n, and n itself below it.
        children_ZNM: int64, children of each node in order, padded with 0 (the root is no child).
        place_ZN: int64, number of siblings before a node.
        nodes: N, number of nodes, root included.
        levels: L, depth of the deepest node plus one.
        widest: Largest number of nodes at each depth in any of the shapes, on the host.
    """

    def __init__(self, parents: Sequence[Sequence[int]], device: torch.device) -> None:
        ways = [_ways_from_root(row) for row in parents]
        self.nodes = len(parents[0])
        self.levels = max(len(way) for tree in ways for way in tree)
        ancestors = torch.zeros(len(parents), self.nodes, self.nodes, dtype=torch.bool)
        for t, tree in enumerate(ways):
            for node, way in enumerate(tree):
                ancestors[t, node, way] = True
        padded = [[way + way[-1:] * (self.levels - len(way)) for way in tree] for tree in ways]
        depths = [[len(way) - 1 for way in tree] for tree in ways]
        self.widest = [max(row.count(depth) for row in depths) for depth in range(self.levels)]
        places, children = zip(*(_families(row) for row in parents), strict=True)
        most = max((len(some) for tree in children for some in tree), default=0)
        filled = [[some + [0] * (most - len(some)) for some in tree] for tree in children]
        self.parents_ZN = torch.tensor(parents, device=device)
        self.depths_ZN = torch.tensor(depths, device=device)
        self.ancestors_ZNN = ancestors.to(device)
        self.path_ZNL = torch.tensor(padded, device=device)
        self.children_ZNM = torch.tensor(filled, dtype=torch.int64, device=device)
        self.place_ZN = torch.tensor(places, device=device)

    @classmethod
    def chain(cls, drafts: int, device: torch.device) -> "Shapes":
        """One shape: `drafts` nodes in a row behind the root, which may be none."""
        return cls([[0, *range(drafts)]], device)


def _ways_from_root(parents: Sequence[int]) -> list[list[int]]:
    wrong = [n for n, parent in enumerate(parents) if not 0 <= parent < max(n, 1)]
    if wrong or not parents:
        raise ValueError(f"parents must come before their children, root first; got {parents}")
    ways = [[0]]
    for node in range(1, len(parents)):
        ways.append([*ways[parents[node]], node])
    return ways


def _families(parents: Sequence[int]) -> tuple[list[int], list[list[int]]]:
    """Place of each node among its siblings, and the children of each node."""
    places, children = [0], [[] for _ in parents]
    for node, parent in enumerate(parents[1:], start=1):
        places.append(len(children[parent]))
        children[parent].append(node)
    return places, children


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """Laws that drafts were drawn from, for rules that weigh them against the target's.

    A draft is drawn from its law without the tokens of the siblings before it, whichever law those
    were drawn from; siblings therefore never repeat a token.

    Attributes:
        scores_BQV: Unnormalised log-probabilities of the laws of each row.
        which_BN: int64, number of the law of each node; the root's means nothing.
    """

    scores_BQV: Tensor
    which_BN: Tensor


@dataclass(frozen=True, kw_only=True)
class Tree:
    """One draft for every row.

    Attributes:
        shapes: All shapes that occur.
        shape_B: int64, number of the shape of each row.
        tokens_BN: int64, token of each node; column 0 is the root.
        drawn: Laws of the tokens; None where no rule asks for them, or there are no drafts.
    """

    shapes: Shapes
    shape_B: Tensor
    tokens_BN: Tensor
    drawn: Drawn | None = None

    @property
    def parents_BN(self) -> Tensor:
        return self.shapes.parents_ZN[self.shape_B]

    @property
    def depths_BN(self) -> Tensor:
        return self.shapes.depths_ZN[self.shape_B]
