"""Budget: how many nodes a pass should verify, from what passes cost on this machine.

A pass over more nodes costs more and commits more; the best size maximises expected committed
tokens per second. Cost is taken as a function of all nodes in the pass (rows x nodes), the height
of its matrix products.

Passes are timed before the first image, whatever else the machine does just then. So that curve is
a first guess, which is corrected for as long as images are made: now and then a step tries another
size, and is held against the step before it. Both are whole steps, drafts and all; what slows down
both, as other work or a longer image, does not count.
"""

import bisect
import math
from collections import deque
from collections.abc import Callable, Iterable, Sequence

NODE_OPTIONS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)  # tree sizes, root included
TOO_DEAR = 8.0  # a pass of so many times the cheapest one is never worth it: stop measuring
LOSS = 0.002  # share of the time that tries of one size may lose
PAUSE = 4  # steps from one try to the next, at least
CLASSES = 3  # of sizes, each time they double: so no two options fall into one


class Budget:
    """The cost curve of one target.

    Args:
        curve: (rows x nodes, seconds) points in rising order, the first guess. With one point all
            passes cost the same, for good.
        most_nodes: largest tree that may be chosen.
        branching: whether a node may have more than one child.

    Attributes:
        most_nodes, branching: as given.
        options: sizes of trees to choose from.
        last: rows, nodes and seconds of the last step; None before the first.
    """

    def __init__(
        self, curve: Sequence[tuple[int, float]], most_nodes: int, *, branching: bool = True
    ) -> None:
        self._sizes = [size for size, _ in curve]
        self._seconds = [seconds for _, seconds in curve]
        self.most_nodes, self.branching = most_nodes, branching
        self.options = tuple(n for n in NODE_OPTIONS if n <= most_nodes)
        self.last: tuple[int, int, float] | None = None
        # By class: what the last three tries found, as factors of the first guess. The middle one
        # counts, so that no single disturbed step misleads.
        self._factors: dict[int, deque[float]] = {}
        self._tried_s: dict[int, float] = {}
        self._clock_s = 0.0  # all steps so far, by their expected seconds
        self._pace = 1.0  # expected seconds of the last step in one of its real ones
        self._steps = 0  # since a try was last thought of
        self._trying: int | None = None  # nodes of the try that was chosen last

    @classmethod
    def measure(
        cls, time_pass: Callable[[int, int], float], slots: int, most_nodes: int
    ) -> "Budget":
        """Time passes with `time_pass(rows, nodes)`, few and small ones first."""
        shapes = {1: (1, 1)}
        for nodes in (2, 4, 8, 16, 32):
            if nodes <= most_nodes:
                shapes[nodes] = (1, nodes)
                shapes[slots * nodes] = (slots, nodes)
        curve: list[tuple[int, float]] = []
        for size, (rows, nodes) in sorted(shapes.items()):
            seconds = time_pass(rows, nodes)
            curve.append((size, max(seconds, curve[-1][1]) if curve else seconds))
            if seconds > TOO_DEAR * curve[0][1]:
                break
        return cls(curve, most_nodes)

    @property
    def curve_ms(self) -> dict[int, float]:
        """Milliseconds by the number of nodes in a pass: the first guess, corrected."""
        return {size: round(1000 * self.seconds(1, size), 2) for size in self._sizes}

    def seconds(self, rows: int, nodes: int) -> float:
        """Expected time of a step with such a pass, up to a factor that all sizes share."""
        size = rows * nodes
        factors = self._factors.get(_class(size))
        return self._guess_s(size) * (_middle(factors) if factors else 1.0)

    def observe(self, rows: int, nodes: int, seconds: float) -> None:
        """A step with such a pass took so long, from drafting to learning from it."""
        self.last = rows, nodes, seconds
        if len(self._sizes) == 1:
            return
        size = rows * nodes
        factors = self._factors.setdefault(_class(size), deque([1.0] * 3, maxlen=3))
        if nodes == self._trying:
            factors.append(seconds * self._pace / self._guess_s(size))
            self._tried_s[_class(size)] = self._clock_s
            self._anchor()
        expected_s = self.seconds(rows, nodes)
        self._pace = expected_s / seconds
        self._clock_s += expected_s
        self._steps += 1
        self._trying = None

    def _anchor(self) -> None:
        """Keep the mean factor at 1. Sizes are compared with each other only, and those that seemed
        cheap by luck are compared with next: all of them together would drift away."""
        logs = [math.log(_middle(factors)) for factors in self._factors.values()]
        mean = math.exp(sum(logs) / len(logs))
        for factors in self._factors.values():
            factors.extend([factor / mean for factor in factors])

    def choose(self, rows: int, expected_tokens: Sequence[float]) -> int:
        """Index into `options` with the most committed tokens per second, or now and then of
        another that is worth a try.

        Args:
            rows: images in the pass.
            expected_tokens: mean tokens that a pass commits per image, for each option.
        """
        costs = [self.seconds(rows, nodes) for nodes in self.options]
        rates = [tokens / cost for tokens, cost in zip(expected_tokens, costs, strict=True)]
        best = rates.index(max(rates))
        if self._steps < PAUSE:
            return best
        self._steps = 0
        due = self._due(rows, expected_tokens, costs, best)
        if due is None:
            return best
        self._trying = self.options[due]
        return due

    def _due(
        self, rows: int, expected_tokens: Sequence[float], costs: Sequence[float], best: int
    ) -> int | None:
        """The option that is worth a try and waits longest for it; None where there is none.

        What a try loses against the best option is paid by the time since the last one; the first
        is free. Those are left out which would not be the best one even if they cost no more than
        what is known of smaller ones.
        """
        second_tokens = expected_tokens[best] / costs[best]
        due: list[tuple[float, int]] = []
        floor_s = 0.0
        for at, tokens in enumerate(expected_tokens):
            size = rows * self.options[at]
            tried_s = self._tried_s.get(_class(size), -math.inf)
            lost_s = self._latest_s(size) - tokens / second_tokens
            paid = (self._clock_s - tried_s) * LOSS >= lost_s
            if at != best and paid and tokens > second_tokens * floor_s:
                due.append((tried_s, at))
            if at == best or tried_s > -math.inf:
                floor_s = max(floor_s, costs[at])
        return min(due)[1] if due else None

    def _latest_s(self, size: int) -> float:
        """What the last try of a size found, right or disturbed."""
        factors = self._factors.get(_class(size))
        return self._guess_s(size) * (factors[-1] if factors else 1.0)

    def _guess_s(self, size: int) -> float:
        """The first guess, by linear interpolation."""
        if len(self._sizes) == 1:
            return self._seconds[0]
        at = min(max(bisect.bisect_left(self._sizes, size), 1), len(self._sizes) - 1)
        (x0, x1), (y0, y1) = self._sizes[at - 1 : at + 1], self._seconds[at - 1 : at + 1]
        return y0 + (y1 - y0) * (size - x0) / (x1 - x0)


def _class(size: int) -> int:
    """Sizes that differ by a quarter at most cost about the same."""
    return round(CLASSES * math.log2(size))


def _middle(factors: Iterable[float]) -> float:
    return sorted(factors)[1]
