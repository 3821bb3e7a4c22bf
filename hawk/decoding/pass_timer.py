"""PassTimer: seconds of a target's passes, the first guess of a budget."""

import time

import torch

from hawk.decoding.target import Target
from hawk.decoding.tree import Shapes, Tree

REPEATS = 3
WARM_UP = 2  # passes of a shape until its graph is replayed, see `hawk.decoding.graphs`
ENOUGH_S = 0.1  # seconds spent on one shape; disturbances are small beside long passes


class PassTimer:
    """Timer of a target's passes on memory of its own, half an image long.

    Args:
        target: Target whose passes are timed.
        slots: Largest number of images in a pass.
        guided: True where an image has a second branch.
        most_nodes: Nodes of the largest tree.
    """

    def __init__(self, target: Target, *, slots: int, guided: bool, most_nodes: int) -> None:
        self._target = target
        self._cache = target.new_cache(slots=slots, branches=2 if guided else 1, nodes=most_nodes)
        self._guidance_S = torch.full((slots,), 2.0, device=target.device)
        self._cache.pretend(target.grid.cells // 2)

    def __call__(self, rows: int, nodes: int) -> float:
        """Seconds of a pass over `nodes` nodes for each of `rows` images, in a shape that is warm:
        its first passes compile it, or capture its graph.

        The minimum of up to three, as other work of the machine only adds to them.
        """
        device = self._target.device
        tree = Tree(
            shapes=Shapes.chain(nodes - 1, device),
            shape_B=torch.zeros(rows, dtype=torch.int64, device=device),
            tokens_BN=torch.zeros(rows, nodes, dtype=torch.int64, device=device),
        )
        for _ in range(WARM_UP if self._cache.graphs else 1):
            self._pass(tree, rows)
        seconds: list[float] = []
        while len(seconds) < REPEATS and sum(seconds) < ENOUGH_S:
            started = time.perf_counter()
            self._pass(tree, rows)
            seconds.append(time.perf_counter() - started)
        return min(seconds)

    def _pass(self, tree: Tree, rows: int) -> None:
        output = self._target.forward(tree, self._guidance_S[:rows], self._cache)
        output.logits_BNV[0, 0, 0].item()  # once the device is done
