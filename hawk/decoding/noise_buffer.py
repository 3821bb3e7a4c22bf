"""NoiseBuffer: the noise of the steps ahead of every image, drawn once.

A step is seen by several passes before it is committed, each time under the same noise. The buffer
holds the noise of the steps from the committed end to as far ahead as trees reach.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from hawk.decoding.noise import gumbel


class NoiseBuffer:
    """Noise of all images in flight.

    Args:
        slots: Largest number of images in flight.
        vocabulary: Number of image tokens.
        cells: Steps of an image; there is no noise behind them.
        ahead: Number of steps from the next one on that it holds.
        device: Device of the noise.
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
        self._next = [0] * slots  # step that each image commits next
        self._drawn = [0] * slots  # first step of each image whose noise is not drawn yet

    def enter(self, slots: range, seeds: Sequence[int], scales_B: Tensor) -> None:
        """Take in new images, which have no token yet.

        Args:
            slots: Slots of the images.
            seeds: Seeds of their noise.
            scales_B: float32, factor of the noise: 0 for images at temperature 0, else 1.
        """
        where = slice(slots.start, slots.stop)
        self._seeds_S[where] = torch.tensor(seeds)
        self._scales_S[where] = scales_B
        for slot in slots:
            self._next[slot] = self._drawn[slot] = 0
        self._draw(slots)

    def advance(self, counts: Sequence[int], first: int = 0) -> None:
        """Move on by the tokens that the rows from `first` on have committed."""
        for slot, count in enumerate(counts, first):
            self._next[slot] += count
        self._draw(range(first, first + len(counts)))

    def at(self, first: int, steps_BX: Tensor) -> Tensor:
        """Noise float32 [B, X, V] of some steps of the rows from `first` on; that of steps behind
        the image's end means nothing."""
        rows = self._slots_S1[first : first + len(steps_BX)]
        return self._ring_SXV[rows, steps_BX % self._ahead]

    def move(self, source: int, target: int) -> None:
        """Move the image in slot `source` to slot `target`."""
        for rows in (self._ring_SXV, self._seeds_S, self._scales_S):
            rows[target] = rows[source]
        for host in (self._next, self._drawn):
            host[target] = host[source]

    def _draw(self, slots: range) -> None:
        """Draw the noise that is missing."""
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
