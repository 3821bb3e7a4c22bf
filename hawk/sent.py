"""Sent: numbers on their way from a device to the host."""

import torch
from torch import Tensor


class Sent:
    """A small tensor that was sent to the host. The device goes on, and so does the host until it
    reads.

    Args:
        numbers_X: int64, on any device.
    """

    def __init__(self, numbers_X: Tensor) -> None:
        self._numbers_X = numbers_X.to("cpu", non_blocking=True)
        self._arrived = torch.cuda.Event() if numbers_X.is_cuda else None
        if self._arrived is not None:
            self._arrived.record()

    def list(self) -> list[int]:
        """The numbers, once they are there."""
        if self._arrived is not None:
            self._arrived.synchronize()
        return self._numbers_X.tolist()
