"""StaticTree: the tree of some size over guesses of the next steps, the same in every pass.

A drafter offers M guesses, best first, for each of the next J steps. The tree is the set of nodes
(depth, rank) that commits most if every step had the same chances, grown best-first as in EAGLE-2
(Li et al., arXiv 2406.16858).

Letters: N nodes, J steps ahead, M guesses a step.
"""

import heapq
from collections.abc import Sequence

import torch

from hawk.decoding.tree import Shapes

FIRST_HIT = 0.5  # chance of the best guess of a step
NEXT_HIT = 0.45  # of a further guess against the one before, were the best one always wrong


class StaticTree:
    """A tree, and which node's law to trust for a step after each outcome.

    Attributes:
        shapes: the one shape.
        ranks_N: int64, which guess of its step a node takes.
        source_NJ: int64, after accepting up to node n, the node whose law is the best there is for
            the j-th step after the next root: down the first children of n, else of its ancestors,
            the deepest one where nothing reaches that far.
        short_NJ: int64, how many steps that node falls short of the step it stands for.
    """

    def __init__(self, nodes: int, steps: int, guesses: int, device: torch.device) -> None:
        parents, ranks = _grow(nodes, steps, guesses)
        self.shapes = Shapes([parents], device)
        self.ranks_N = torch.tensor(ranks, device=device)
        source, short = _sources(parents, steps)
        self.source_NJ = torch.tensor(source, device=device)
        self.short_NJ = torch.tensor(short, device=device)


def _grow(nodes: int, steps: int, guesses: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Parents and ranks of the nodes."""
    hits = [FIRST_HIT, (1 - FIRST_HIT) * NEXT_HIT * FIRST_HIT]
    while len(hits) < guesses:
        hits.append(hits[-1] * NEXT_HIT)
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
    """`source` and `short` of a tree, see `StaticTree`."""
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
