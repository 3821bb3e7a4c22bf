"""Stats: counts that add and subtract, with ratios as properties; Clock: seconds between laps."""

import time
from dataclasses import dataclass, fields


@dataclass(kw_only=True)
class Stats:
    """Cost of some images.

    Attributes:
        images: Number of images, finished or not.
        tokens: Number of committed tokens.
        forwards: Number of passes that an image took part in, its prompt's included, summed over
            images.
        passes: Number of passes of the target, prompts included, whatever images were in them.
        drafted: Number of tree nodes besides roots.
        accepted: Number of accepted nodes; the extra token of a pass does not count.
        draft_s: Seconds of drafting, learning from outcomes included.
        forward_s: Seconds of the target, prompts included.
        verify_s: Seconds of sampling and verification.
    """

    images: int = 0
    tokens: int = 0
    forwards: int = 0
    passes: int = 0
    drafted: int = 0
    accepted: int = 0
    draft_s: float = 0.0
    forward_s: float = 0.0
    verify_s: float = 0.0

    def __iadd__(self, other: "Stats") -> "Stats":
        for field in fields(self):
            setattr(self, field.name, getattr(self, field.name) + getattr(other, field.name))
        return self

    def __sub__(self, other: "Stats") -> "Stats":
        return Stats(
            **{f.name: getattr(self, f.name) - getattr(other, f.name) for f in fields(self)}
        )

    @property
    def tokens_per_forward(self) -> float:
        """Mean tokens of a forward, the extra token included; plain decoding has 1."""
        return self.tokens / self.forwards if self.forwards else 0.0

    @property
    def nodes_per_forward(self) -> float:
        """Mean size of a tree, root included."""
        return 1 + self.drafted / self.forwards if self.forwards else 0.0


class Clock:
    """Clock of the host: on a GPU, laps show where the host waited."""

    def __init__(self) -> None:
        self._last = time.perf_counter()

    def lap(self) -> float:
        now = time.perf_counter()
        self._last, passed = now, now - self._last
        return passed
