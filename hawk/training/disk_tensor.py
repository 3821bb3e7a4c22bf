"""DiskTensor: a tensor whose rows are in many files, read as they are indexed."""

from collections.abc import Sequence
from itertools import accumulate

import torch
from torch import Tensor


class DiskTensor:
    """Parts of a tensor one behind the other, as if they were one.

    Args:
        parts: Parts mapped from files, on the CPU; equal but for their first size.
        device: Device of the rows that are read.
    """

    def __init__(self, parts: Sequence[Tensor], device: torch.device) -> None:
        self._parts, self.device = parts, device
        self._ends = torch.tensor(list(accumulate(map(len, parts))))
        self.shape = (int(self._ends[-1]), *parts[0].shape[1:])

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Tensor | tuple[Tensor, ...]) -> Tensor:
        """Rows by their numbers, or entries in them, as a tensor is indexed."""
        given = index if isinstance(index, tuple) else (index,)
        spread = torch.broadcast_tensors(*given)
        row_X, *within = (numbers.flatten().cpu() for numbers in spread)
        part_X = torch.bucketize(row_X, self._ends, right=True)
        tail = self._parts[0].shape[len(given) :]
        found = torch.empty(len(row_X), *tail, dtype=self._parts[0].dtype)
        for number in part_X.unique().tolist():
            here, part = (part_X == number).nonzero().flatten(), self._parts[number]
            first = int(self._ends[number]) - len(part)
            found[here] = part[(row_X[here] - first, *(numbers[here] for numbers in within))]
        return found.view(*spread[0].shape, *tail).to(self.device)
