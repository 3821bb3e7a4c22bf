"""Library: tree shapes from bushy to narrow, small to large, to pick from in every pass.

A drafter offers M guesses, best first, for each of the next J steps. A tree over them is a set of
nodes (depth, rank); the tokens that it commits are expected to be the sum over nodes of the product
of hit probabilities on the way there. Shapes are grown best-first (as in EAGLE-2, Li et al., arXiv
2406.16858) for a range of confidence profiles beforehand; a pass only evaluates and picks.

Letters: B rows, O sizes, T shapes a size, N nodes, D levels, J steps ahead, M guesses a step, W
ways from the root.
"""

import heapq
from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor

from hawk.budget import Budget
from hawk.tree import Shapes, Tree

FIRST_HITS = (0.1, 0.25, 0.4, 0.55, 0.7, 0.85, 0.95)  # of the best guess, one profile each
NEXT_HIT = 0.45  # a further guess against the one before, were the best one always wrong


class Size:
    """The shapes of one size, and which node's law to trust for a step after each outcome.

    Attributes:
        shapes: the T shapes.
        ranks_TN: int64, which guess of its step a node takes.
        source_TNJ: int64, after accepting up to node n, the node whose law is the best there is for
            the j-th step after the next root: down the first children of n, else of its ancestors,
            the deepest one where nothing reaches that far.
        short_TNJ: int64, how many steps that node falls short of the step it stands for.
        reach: how many steps deep the next pass may want to go, if sizes grow by one at a time.
    """

    def __init__(
        self, nodes: int, steps: int, guesses: int, device: torch.device, *, reach: int
    ) -> None:
        self.reach = reach
        grown = list(dict.fromkeys(_grow(nodes, steps, guesses, hit) for hit in FIRST_HITS))
        self.shapes = Shapes([parents for parents, _ in grown], device)
        self.ranks_TN = torch.tensor([ranks for _, ranks in grown], device=device)
        sources = [_sources(parents, steps) for parents, _ in grown]
        self.source_TNJ = torch.tensor([source for source, _ in sources], device=device)
        self.short_TNJ = torch.tensor([short for _, short in sources], device=device)


class Library:
    """Shapes of every size in the budget's options.

    Args:
        options: tree sizes, root included.
        steps, guesses: J and M of the drafter.
        branching: whether shapes use more than the best guess of a step.
    """

    def __init__(
        self,
        options: Sequence[int],
        steps: int,
        guesses: int,
        device: torch.device,
        *,
        branching: bool = True,
    ) -> None:
        used = guesses if branching else 1
        depths = [min(steps, larger - 1) for larger in options[1:]]
        self.sizes = [
            Size(nodes, steps, used, device, reach=reach)
            for nodes, reach in zip(options, [*depths, steps], strict=True)
        ]
        self._guesses, self._device = guesses, device
        self._sure = steps * guesses  # column of a sure hit, behind the guesses

    def tree(
        self, roots_B: Tensor, guesses_BJM: Tensor, hits_BJM: Tensor, budget: Budget
    ) -> tuple[Tree, Size]:
        """The tree with the most expected tokens per second, its shape chosen row by row.

        Args:
            roots_B: int64, last committed tokens.
            guesses_BJM: int64 tokens, best first.
            hits_BJM: probability that each is right if all before it on its way are.
            budget: knows what passes cost.
        """
        table = torch.nn.functional.pad(hits_BJM.flatten(1), (0, 1), value=1.0)
        ways_WD, nodes_WX = self._ways
        expected_BX = table[:, ways_WD].prod(-1) @ nodes_WX
        expected_BOT = expected_BX.unflatten(1, (len(self.sizes), -1))
        best_BO, shape_BO = expected_BOT.max(-1)
        at = budget.choose(len(roots_B), best_BO.mean(0).tolist())
        size, shape_B = self.sizes[at], shape_BO[:, at]
        tokens = torch.cat([guesses_BJM.flatten(1), roots_B[:, None]], dim=1)
        columns_BN = self._column(size)[shape_B]
        return Tree(
            shapes=size.shapes, shape_B=shape_B, tokens_BN=tokens.gather(1, columns_BN)
        ), size

    def _column(self, size: Size) -> Tensor:
        """Column of each node in the flat table of guesses, [T, N]; the root's comes last."""
        drafts = (size.shapes.depths_TN - 1) * self._guesses + size.ranks_TN
        return drafts.where(size.shapes.depths_TN > 0, self._sure)

    @cached_property
    def _ways(self) -> tuple[Tensor, Tensor]:
        """The ways from the root that nodes of any shape take. Shapes share most of theirs, so each
        is worked out once.

        Returns:
            int64 [W, D], columns of the nodes on each way, padded with a sure hit; and how many
            nodes of each shape take it, float32 [W, O x T], none of shapes that a size lacks.
        """
        most = max(len(size.ranks_TN) for size in self.sizes)
        levels = max(size.shapes.levels for size in self.sizes)
        ways, shapes = [], []
        for at, size in enumerate(self.sizes):
            way_TND = size.shapes.path_TND
            found_TND = self._column(size).gather(1, way_TND.flatten(1)).view_as(way_TND)
            # Below a node its way repeats the node itself, which must count once.
            beyond = torch.arange(way_TND.shape[2], device=self._device)
            found_TND[beyond > size.shapes.depths_TN[..., None]] = self._sure
            more = levels - found_TND.shape[2]
            ways.append(
                torch.nn.functional.pad(found_TND, (0, more), value=self._sure).flatten(0, 1)
            )
            number_T = at * most + torch.arange(len(way_TND), device=self._device)
            shapes.append(number_T.repeat_interleave(size.shapes.nodes))
        ways_WD, way_X = torch.cat(ways).unique(dim=0, return_inverse=True)
        nodes_WX = torch.zeros(len(ways_WD), len(self.sizes) * most, device=self._device)
        one = torch.ones((), device=self._device)
        nodes_WX.index_put_((way_X, torch.cat(shapes)), one, accumulate=True)
        return ways_WD, nodes_WX


def _grow(
    nodes: int, steps: int, guesses: int, first_hit: float
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Parents and ranks of the best tree of that size if every step had the same hit profile."""
    hits = [first_hit]
    while len(hits) < guesses:
        hits.append(
            hits[-1] * NEXT_HIT if len(hits) > 1 else (1 - first_hit) * NEXT_HIT * first_hit
        )
    taken = [(0, 0)]  # (parent, rank)
    depths = [0]
    heap = [(-hits[0], 0, 0)]
    while len(taken) < nodes and heap:
        value, parent, rank = heapq.heappop(heap)
        node = len(taken)
        taken.append((parent, rank))
        depths.append(depths[parent] + 1)
        if rank + 1 < guesses:
            heapq.heappush(heap, (value / hits[rank] * hits[rank + 1], parent, rank + 1))
        if depths[node] < steps:
            heapq.heappush(heap, (value * hits[0], node, 0))
    if len(taken) < nodes:
        raise ValueError(f"{steps} steps of {guesses} guesses do not fill a tree of {nodes} nodes")
    return _depth_first(taken)


def _depth_first(taken: Sequence[tuple[int, int]]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Renumber depth first, so that an accepted run of best guesses already lies in its place."""
    children: dict[int, list[int]] = {}
    for node in range(1, len(taken)):
        children.setdefault(taken[node][0], []).append(node)
    order, stack = [], [0]
    while stack:
        order.append(stack.pop())
        stack.extend(reversed(children.get(order[-1], [])))
    place = {node: at for at, node in enumerate(order)}
    return tuple(place[taken[node][0]] for node in order), tuple(taken[node][1] for node in order)


def _sources(parents: Sequence[int], steps: int) -> tuple[list[list[int]], list[list[int]]]:
    """`source` and `short` of one shape, see `Size`."""
    first_child = {parent: node for node, parent in reversed(list(enumerate(parents))) if node}
    depths, ways = [], []  # ways: by depth, root to node, then down first children
    source, short = [], []
    for node, parent in enumerate(parents):
        depth = depths[parent] + 1 if node else 0
        way = [*ways[parent][:depth], node] if node else [node]
        while way[-1] in first_child:
            way.append(first_child[way[-1]])
        if node:
            way += ways[parent][len(way) :]
        depths.append(depth)
        ways.append(way)
        ahead = way[depth + 1 :]
        reach = len(ahead)
        source.append([(ahead or [node])[min(j, max(reach, 1) - 1)] for j in range(steps)])
        short.append([max(0, j + 1 - reach) for j in range(steps)])
    return source, short
