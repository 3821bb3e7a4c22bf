"""PassTimer: what a pass of a target costs, for a budget to begin with."""

import time

import torch

from hawk.targets.base import Target
from hawk.tree import Shapes, Tree

REPEATS = 3
ENOUGH_S = 0.1  # of one shape: what disturbs long passes is small beside them


class PassTimer:
    """Times a target's passes on scratch memory, half an image long."""

    def __init__(self, target: Target, *, slots: int, guided: bool, most_nodes: int) -> None:
        self._target = target
        self._cache = target.new_cache(slots=slots, branches=2 if guided else 1, nodes=most_nodes)
        self._guidance_S = torch.full((slots,), 2.0, device=target.device)
        self._cache.pretend(target.grid.cells // 2)
        self(1, 1)  # the first pass pays for set-up

    def __call__(self, rows: int, nodes: int) -> float:
        """Seconds of a pass over `nodes` nodes for each of `rows` images.

        The least of up to three: whatever else the machine does only adds to them.
        """
        device = self._target.device
        tree = Tree(
            shapes=Shapes.chain(nodes - 1, device),
            shape_B=torch.zeros(rows, dtype=torch.int64, device=device),
            tokens_BN=torch.zeros(rows, nodes, dtype=torch.int64, device=device),
        )
        seconds: list[float] = []
        while len(seconds) < REPEATS and sum(seconds) < ENOUGH_S:
            started = time.perf_counter()
            self._target.forward(tree, self._guidance_S[:rows], self._cache).logits_BNV[
                0, 0, 0
            ].item()
            seconds.append(time.perf_counter() - started)
        return min(seconds)
