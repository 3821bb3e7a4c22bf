"""StaticTree: a tree over drafts of the next steps, the same in every pass.

A drafter offers M drafts, best first, for each of the next J steps. The tree is the set of nodes
(depth, rank) that commits most if every step had the same chances, grown best-first as in EAGLE-2
(Li et al., arXiv 2406.16858).
"""

import heapq
from collections.abc import Sequence

import torch

from hawk.decoding.tree import Shapes

FIRST_HIT = 0.5  # chance that the best draft of a step is right
NEXT_HIT = 0.45  # chance of a further draft as a share of the one before, if the best one is wrong


class StaticTree:
    """A tree, and for each outcome the node whose law to trust for each coming step.

    Attributes:
        shapes: The one tree shape.
        ranks_N: int64, rank of each node among the drafts of its step.
        source_NJ: int64, the node whose law is best for the j-th step after the next root, when
            nodes up to n were accepted: down the first children of n, else of its ancestors, and
            the deepest of them where none reaches that far.
        short_NJ: int64, number of steps by which that node falls short of the step.
    """

    def __init__(self, nodes: int, steps: int, drafts: int, device: torch.device) -> None:
        parents, ranks = _grow(nodes, steps, drafts)
        self.shapes = Shapes([parents], device)
        self.ranks_N = torch.tensor(ranks, device=device)
        source, short = _sources(parents, steps)
        self.source_NJ = torch.tensor(source, device=device)
        self.short_NJ = torch.tensor(short, device=device)


def _grow(nodes: int, steps: int, drafts: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Parents and ranks of the nodes."""
    hits = [FIRST_HIT, (1 - FIRST_HIT) * NEXT_HIT * FIRST_HIT]
    while len(hits) < drafts:
        hits.append(hits[-1] * NEXT_HIT)
    taken = [(0, 0)]  # (parent, rank)
    depths = [0]
    heap = [(-hits[0], 0, 0)]
    while len(taken) < nodes and heap:
        value, parent, rank = heapq.heappop(heap)
        node = len(taken)
        taken.append((parent, rank))
        depths.append(depths[parent] + 1)
        if rank + 1 < drafts:
            heapq.heappush(heap, (value / hits[rank] * hits[rank + 1], parent, rank + 1))
        if depths[node] < steps:
            heapq.heappush(heap, (value * hits[0], node, 0))
    if len(taken) < nodes:
        raise ValueError(f"{steps} steps of {drafts} drafts do not fill a tree of {nodes} nodes")
    return _depth_first(taken)


def _depth_first(taken: Sequence[tuple[int, int]]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Renumber depth first, so that an accepted run of best drafts already lies in its place."""
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
    """`source_NJ` and `short_NJ` of a tree, see `StaticTree`."""
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
