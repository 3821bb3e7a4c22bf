"""RingBuffer: the last entries of every image by absolute step, in static memory."""

import torch
from torch import Tensor


class RingBuffer:
    """Entries of the last X steps of every slot.

    Entries past an image's committed end are written again before they are read, so X has to cover
    the oldest step that is read and the furthest step that one pass reaches.

    Args:
        memory_SX: Memory of the entries, [S, X, ...].
    """

    def __init__(self, memory_SX: Tensor) -> None:
        self.memory_SX = memory_SX
        self._slots_S1 = torch.arange(len(memory_SX), device=memory_SX.device)[:, None]

    def put(self, slots: slice, steps_BX: Tensor, values_BX: Tensor) -> None:
        """Store the entries of some steps."""
        where = steps_BX % self.memory_SX.shape[1]
        self.memory_SX[self._slots_S1[slots], where] = values_BX.to(self.memory_SX.dtype)

    def at(self, slots: slice | Tensor, steps_BX: Tensor) -> Tensor:
        """The entries of some steps; those of steps without an entry mean nothing."""
        where = steps_BX % self.memory_SX.shape[1]
        return self.memory_SX[self._slots_S1[slots], where]

    def move(self, source: int, target: int) -> None:
        self.memory_SX[target] = self.memory_SX[source]
