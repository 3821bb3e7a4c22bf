"""Budget: how many nodes a pass should verify, from what passes cost on this machine.

A pass over more nodes costs more and commits more; the best size maximises expected committed
tokens per second. Cost is taken as a function of all nodes in the pass (rows x nodes), the height
of its matrix products, and measured once.
"""

import bisect
from collections.abc import Callable, Sequence

NODE_OPTIONS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)  # tree sizes, root included
TOO_DEAR = 8.0  # a pass of so many times the cheapest one is never worth it: stop measuring


class Budget:
    """The cost curve of one target.

    Args:
        curve: (rows x nodes, seconds) points in rising order, at least one.
        most_nodes: largest tree that may be chosen.
        branching: whether a node may have more than one child.

    Attributes:
        most_nodes, branching: as given.
        options: sizes of trees to choose from.
        overhead_s: what a step costs besides its pass, seconds.
    """

    def __init__(
        self, curve: Sequence[tuple[int, float]], most_nodes: int, *, branching: bool = True
    ) -> None:
        self._sizes = [size for size, _ in curve]
        self._seconds = [seconds for _, seconds in curve]
        self.most_nodes, self.branching = most_nodes, branching
        self.options = tuple(n for n in NODE_OPTIONS if n <= most_nodes)
        self.overhead_s = 0.0

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
        """Milliseconds of a pass by its number of nodes, as measured."""
        return {
            size: round(1000 * seconds, 2)
            for size, seconds in zip(self._sizes, self._seconds, strict=True)
        }

    def seconds(self, rows: int, nodes: int) -> float:
        """Expected time of a step with such a pass, by linear interpolation."""
        size = rows * nodes
        at = min(max(bisect.bisect_left(self._sizes, size), 1), len(self._sizes) - 1)
        if len(self._sizes) == 1:
            return self._seconds[0] + self.overhead_s
        (x0, x1), (y0, y1) = self._sizes[at - 1 : at + 1], self._seconds[at - 1 : at + 1]
        return y0 + (y1 - y0) * (size - x0) / (x1 - x0) + self.overhead_s

    def add_overhead(self, seconds: float) -> None:
        """What a step cost besides its pass; a running mean of it is added to every option."""
        self.overhead_s += 0.05 * (seconds - self.overhead_s)

    def choose(self, rows: int, expected_tokens: Sequence[float]) -> int:
        """Index into `options` with the most committed tokens per second.

        Args:
            rows: images in the pass.
            expected_tokens: mean tokens that a pass commits per image, for each option.
        """
        rates = [
            tokens / self.seconds(rows, nodes)
            for nodes, tokens in zip(self.options, expected_tokens, strict=True)
        ]
        return rates.index(max(rates))
