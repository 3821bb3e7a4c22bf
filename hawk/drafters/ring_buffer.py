"""RingBuffer: the last entries of every image by absolute step, in static memory.

Letters: B rows, S slots, R ring, X steps.
"""

import torch
from torch import Tensor


class RingBuffer:
    """What is written past an image's committed end is never read before it is written again, so
    the length has to cover the oldest step that is read and the furthest that one pass reaches.

    Args:
        memory_SR: its memory, [S, R, ...].
    """

    def __init__(self, memory_SR: Tensor) -> None:
        self.memory_SR = memory_SR
        self._slots_S1 = torch.arange(len(memory_SR), device=memory_SR.device)[:, None]

    def put(self, slots: slice, steps_BX: Tensor, values_BX: Tensor) -> None:
        """Store the entries of some steps."""
        where = steps_BX % self.memory_SR.shape[1]
        self.memory_SR[self._slots_S1[slots], where] = values_BX.to(self.memory_SR.dtype)

    def at(self, slots: slice | Tensor, steps_BX: Tensor) -> Tensor:
        """The entries of some steps; those that are not there mean nothing."""
        where = steps_BX % self.memory_SR.shape[1]
        return self.memory_SR[self._slots_S1[slots], where]

    def move(self, source: int, target: int) -> None:
        self.memory_SR[target] = self.memory_SR[source]
