"""NoiseBuffer: the noise of the steps ahead of every image, drawn once in its life.

A step is seen by several passes before it is committed, each time under the same noise. The ring
keeps that of the steps between the committed end and as far ahead as anyone asks.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from hawk.decoding.noise import gumbel


class NoiseBuffer:
    """Noise of all images in flight.

    Args:
        slots: images in flight at most.
        vocabulary: number of image tokens.
        cells: steps of an image; nobody asks for those behind.
        ahead: steps from the next one on that may be asked for.
    """

    def __init__(
        self, slots: int, vocabulary: int, *, cells: int, ahead: int, device: torch.device
    ) -> None:
        self._cells, self._ahead = cells, min(ahead, cells)
        self._ring_SXV = torch.zeros(slots, self._ahead, vocabulary, device=device)
        self._ids_V = torch.arange(vocabulary, dtype=torch.int32, device=device)
        self._slots_S1 = torch.arange(slots, device=device)[:, None]
        self._seeds_S = torch.zeros(slots, dtype=torch.int64, device=device)
        self._scales_S = torch.zeros(slots, device=device)
        self._next = [0] * slots  # host: the step that each image commits next
        self._drawn = [0] * slots  # host: the first step whose noise is not there yet

    def enter(self, slots: range, seeds: Sequence[int], scales_B: Tensor) -> None:
        """New images, which have no token yet.

        Args:
            seeds: of their noise.
            scales_B: float32, what noise is multiplied by: 0 for images at temperature 0.
        """
        where = slice(slots.start, slots.stop)
        self._seeds_S[where] = torch.tensor(seeds)
        self._scales_S[where] = scales_B
        for slot in slots:
            self._next[slot] = self._drawn[slot] = 0
        self._draw(slots)

    def advance(self, counts: Sequence[int], first: int = 0) -> None:
        """The rows from `first` on have committed so many more tokens."""
        for slot, count in enumerate(counts, first):
            self._next[slot] += count
        self._draw(range(first, first + len(counts)))

    def at(self, first: int, steps_BX: Tensor) -> Tensor:
        """float32 [B, X, V] of some steps of the rows from `first` on; those behind the image's
        end mean nothing."""
        rows = self._slots_S1[first : first + len(steps_BX)]
        return self._ring_SXV[rows, steps_BX % self._ahead]

    def move(self, source: int, target: int) -> None:
        """The image of slot `source` goes on in slot `target`."""
        for rows in (self._ring_SXV, self._seeds_S, self._scales_S):
            rows[target] = rows[source]
        for host in (self._next, self._drawn):
            host[target] = host[source]

    def _draw(self, slots: range) -> None:
        """Draw what is missing."""
        missing: list[tuple[int, int]] = []
        for slot in slots:
            end = min(self._next[slot] + self._ahead, self._cells)
            missing += [(slot, step) for step in range(self._drawn[slot], end)]
            self._drawn[slot] = max(self._drawn[slot], end)
        if not missing:
            return
        slots_X, steps_X = torch.tensor(missing, device=self._ids_V.device).unbind(1)
        drawn_X1V = gumbel(self._seeds_S[slots_X], steps_X[:, None], self._ids_V)
        scales_X1 = self._scales_S[slots_X, None]
        self._ring_SXV[slots_X, steps_X % self._ahead] = drawn_X1V.squeeze(1).mul_(scales_X1)
