"""Stats: counts only; ratios are properties. They add and subtract. And the clock behind them."""

import time
from dataclasses import dataclass, fields


@dataclass(kw_only=True)
class Stats:
    """What some images cost.

    Attributes:
        images, tokens: finished or not, tokens are those committed.
        forwards: passes that an image took part in, its prompt's included, summed over images.
        passes: passes of the target, however many images were in them, prompts included.
        drafted, accepted: tree nodes besides roots; `accepted` excludes the extra token of a pass.
        draft_s, forward_s, verify_s: seconds in drafting (learning from outcomes included), in the
            target (prompts included), and in sampling and verification.
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
        """The extra token of each pass included; plain decoding has 1."""
        return self.tokens / self.forwards if self.forwards else 0.0

    @property
    def nodes_per_forward(self) -> float:
        """Mean size of a tree, root included: what the budget chose."""
        return 1 + self.drafted / self.forwards if self.forwards else 0.0


class Clock:
    """Seconds between laps. On a GPU they show where the host waited."""

    def __init__(self) -> None:
        self._last = time.perf_counter()

    def lap(self) -> float:
        now = time.perf_counter()
        self._last, passed = now, now - self._last
        return passed
