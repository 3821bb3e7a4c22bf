"""Mailbox: what a reader has yet to read, in bounded memory."""

import asyncio
from collections import deque
from typing import Generic, TypeVar

ROOM_BYTES = 4 * 2**20

T = TypeVar("T")


class Mailbox(Generic[T]):
    """Items in order; where the reader falls behind, spare ones are dropped, the oldest first.

    Args:
        room_bytes: Bytes of spare items that may wait; the newest may be larger.
    """

    def __init__(self, room_bytes: int = ROOM_BYTES) -> None:
        self._room_bytes = room_bytes
        self._items: deque[tuple[T, int]] = deque()
        self._spare_bytes = 0
        self._filled = asyncio.Event()

    def put(self, item: T, spare_bytes: int = 0) -> None:
        """Add an item; of one that may be dropped its size."""
        self._items.append((item, spare_bytes))
        self._spare_bytes += spare_bytes
        while self._spare_bytes > max(self._room_bytes, spare_bytes):
            self._drop()
        self._filled.set()

    async def get(self) -> T:
        """The oldest item, when there is one."""
        await self._filled.wait()
        item, size = self._items.popleft()
        self._spare_bytes -= size
        if not self._items:
            self._filled.clear()
        return item

    def _drop(self) -> None:
        place = next(place for place, (_, size) in enumerate(self._items) if size)
        self._spare_bytes -= self._items[place][1]
        del self._items[place]
