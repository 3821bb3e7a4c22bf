"""Duplicates: which of very many names comes twice, in 16 bytes a name.

A dictionary would take 200: 20 GB for a hundred million prompts, on a head that has no other work.
"""

import hashlib
from array import array
from collections.abc import Iterator

import numpy as np


class Duplicates:
    """Names in the order in which they came."""

    def __init__(self) -> None:
        self._hashes = array("Q")
        self._places = array("Q")

    def add(self, name: str, place: int) -> None:
        """Note a name, and where it stands."""
        self._hashes.append(int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest()))
        self._places.append(place)

    def place(self, number: int) -> int:
        """Where the name that came as `number` stands."""
        return self._places[number]

    def suspects(self) -> Iterator[tuple[int, int]]:
        """Numbers of two names that are the same, as far as 64 bits tell, the earliest first."""
        hashes = np.frombuffer(self._hashes, dtype=np.uint64)
        ordered = np.sort(hashes)
        if not (ordered[1:] == ordered[:-1]).any():
            return
        del ordered
        order = np.argsort(hashes, kind="stable")
        same = np.flatnonzero(hashes[order[1:]] == hashes[order[:-1]])
        pairs = zip(order[same].tolist(), order[same + 1].tolist(), strict=True)
        yield from sorted(pairs, key=lambda pair: pair[1])
