"""Budget: the number of nodes of a pass, chosen by measured committed tokens per second.

Two measurements decide. The seconds of a pass over `rows x nodes` nodes depend on the machine, not
on what is drafted. The tokens that a window of `nodes` nodes commits depend neither on machine nor
load; they show over stretches of passes only, since a node far ahead pays passes later. Both begin
with a guess (timed passes, a typical curve), which is corrected for as long as images are made; now
and then a stretch tries the next smaller or larger size, as often as its expected loss may cost.
"""

import bisect
import math
from collections.abc import Callable, Sequence

NODE_OPTIONS = (1, 2, 3, 4, 6, 8, 12, 16, 20, 24, 32, 40, 48, 64, 80, 96)  # root included
TIMED = (2, 4, 8, 16, 32, 64, 96)  # nodes of an image in the passes that are timed at first
TOO_DEAR = 10.0  # times the cheapest pass, beyond which no pass pays and timing stops

STRETCH = 16  # passes between decisions
TRIAL = 12  # passes of a stretch that tries another size
SETTLE = 4  # passes after a change of size that do not count, as the window is the old one
LOSS = 0.01  # share of all passes that trials may cost

# Accepted drafts of a pass over n nodes: GAIN for very large n, approached on the scale SCALE.
# Measured on the embedded model; only ratios matter once a few passes are seen.
GAIN, SCALE = 5.5, 17.0
TRUST = 60.0  # accepted drafts of a size that weigh as much as the curve of all sizes
MEMORY = 3000.0  # accepted drafts after which old ones fade
COMPARED = 6  # steps after a change of size that are compared with those before it
CLASSES = 3  # classes of sizes in each doubling; passes of one class cost about the same


class Budget:
    """Sizes of trees, their cost and their gain.

    Args:
        curve: First guess of the cost, points (rows x nodes, seconds) in rising order. With one
            point all passes cost the same.
        options: Sizes of trees to choose from, in rising order, root included.
    """

    def __init__(self, curve: Sequence[tuple[int, float]], options: Sequence[int]) -> None:
        self.options = tuple(options)
        self._sizes = [size for size, _ in curve]
        self._seconds = [seconds for _, seconds in curve]
        self._factors: dict[int, float] = {}  # corrections of the curve, by class of size
        self._pace: float | None = None  # seconds of recent steps over their expected seconds
        self._before: float | None = None  # the pace before the size changed
        self._changed: tuple[int, int] | None = None  # classes before and after the last change
        self._compared: list[float] = []
        self._hits = dict.fromkeys(self.options, 0.0)  # drafts that were accepted
        self._hoped = dict.fromkeys(self.options, 0.0)  # accepted drafts by the typical curve
        self._now = 0  # index of the option in use
        self._rows = 0  # rows of the last pass
        self._left = 0  # passes left in the stretch
        self._settled = 0  # passes since the size changed
        self._saved = 0.0  # passes that trials may still cost
        self._whole = True  # True where the pass may be as large as the option

    @classmethod
    def fixed(cls, nodes: int) -> "Budget":
        """A budget whose every pass has `nodes` nodes."""
        return cls([(1, 1.0)], [nodes])

    @classmethod
    def measure(
        cls, time_pass: Callable[[int, int], float], slots: int, most_nodes: int
    ) -> "Budget":
        """A budget for this machine, from timed passes, small ones first.

        Args:
            time_pass: Function from rows and nodes to the seconds of a pass.
            slots: Largest number of rows.
            most_nodes: Largest number of nodes of a tree.
        """
        shapes = {1: (1, 1), slots: (slots, 1)}
        for nodes in TIMED:
            if nodes <= most_nodes:
                shapes[nodes] = (1, nodes)
                shapes[slots * nodes] = (slots, nodes)
        curve: list[tuple[int, float]] = []
        for size, (rows, nodes) in sorted(shapes.items()):
            seconds = time_pass(rows, nodes)
            curve.append((size, max(seconds, curve[-1][1]) if curve else seconds))
            if seconds > TOO_DEAR * curve[0][1]:
                break
        return cls(curve, [nodes for nodes in NODE_OPTIONS if nodes <= most_nodes])

    @property
    def curve_ms(self) -> dict[int, float]:
        """Milliseconds of a pass by its number of nodes."""
        return {size: round(1000 * self.seconds(1, size), 2) for size in self._sizes}

    def seconds(self, rows: int, nodes: int) -> float:
        """Expected seconds of a step with such a pass."""
        size = rows * nodes
        return self._guess_s(size) * self._factors.get(_class(size), 1.0)

    def tokens(self, nodes: int) -> float:
        """Expected tokens that a pass over a window of `nodes` nodes commits, of one image."""
        hits, hoped = sum(self._hits.values()), sum(self._hoped.values())
        share = (hits + TRUST) / (hoped + TRUST)
        own = (self._hits[nodes] + TRUST * share) / (self._hoped[nodes] + TRUST)
        return 1 + own * _typical(nodes)

    def choose(self, rows: int, lacking: int) -> int:
        """Nodes of the next tree.

        Args:
            rows: Number of images in the pass.
            lacking: Largest number of tokens that an image in the pass still lacks.
        """
        if len(self.options) == 1:
            return self.options[0]
        if not self._left or rows != self._rows:
            self._begin(rows)
        self._rows = rows
        self._left -= 1
        # A tree with more nodes than there are steps left is no use.
        most = self.options[min(bisect.bisect_left(self.options, lacking), len(self.options) - 1)]
        nodes = self.options[self._now]
        self._whole = nodes <= most
        return min(nodes, most)

    def observe(self, rows: int, nodes: int, tokens: int, seconds: float) -> None:
        """Learn from a step.

        Args:
            rows: Number of images in the pass.
            nodes: Nodes of each tree, root included.
            tokens: Tokens committed over all rows.
            seconds: Duration of the step, drafting and learning included.
        """
        if len(self.options) == 1:
            return
        self._time(_class(rows * nodes), seconds / self.seconds(rows, nodes))
        self._settled += 1
        option = self.options[self._now]  # drafters may have fewer nodes to offer
        if self._whole and nodes > 1 and self._settled > SETTLE:
            self._hits[option] += tokens - rows
            self._hoped[option] += rows * _typical(option)
            fade = min(1.0, MEMORY / max(self._hoped[option], 1.0))
            self._hits[option] *= fade
            self._hoped[option] *= fade

    def _begin(self, rows: int) -> None:
        """Begin a stretch with the best size, or with a neighbour of it that is worth a try."""
        rates = [self.tokens(nodes) / self.seconds(rows, nodes) for nodes in self.options]
        best = rates.index(max(rates))
        self._left, chosen = STRETCH, best
        self._saved += LOSS * STRETCH
        neighbours = [at for at in (best - 1, best + 1) if 0 <= at < len(rates)]
        seldom = min(neighbours, key=lambda at: self._hoped[self.options[at]])
        cost = TRIAL * (1 - rates[seldom] / rates[best])
        if self._now == best and rows == self._rows and cost <= self._saved:
            self._saved -= cost
            self._left, chosen = TRIAL, seldom
        if chosen != self._now:
            self._settled = 0
        self._now = chosen

    def _time(self, size: int, slow: float) -> None:
        """Correct the cost of a class of sizes by a step that took `slow` times its expected time.

        The machine may be slower for a while, whatever the size. So steps are compared only with
        those just before the size changed, and what one size gains the other loses.
        """
        if self._changed is None or self._changed[1] != size:
            self._changed = (size if self._changed is None else self._changed[1], size)
            self._before, self._compared = self._pace, []
        if self._before is not None and len(self._compared) < COMPARED:
            self._compared.append(slow / self._before)
            if len(self._compared) == COMPARED:
                ratio = min(max(sorted(self._compared)[COMPARED // 2], 0.5), 2.0) ** 0.25
                old, new = self._changed
                self._factors[new] = self._factors.get(new, 1.0) * ratio
                self._factors[old] = self._factors.get(old, 1.0) / ratio
        self._pace = slow if self._pace is None else self._pace * 0.8 + slow * 0.2

    def _guess_s(self, size: int) -> float:
        """First guess of the seconds, by linear interpolation."""
        if len(self._sizes) == 1:
            return self._seconds[0]
        at = min(max(bisect.bisect_left(self._sizes, size), 1), len(self._sizes) - 1)
        (x0, x1), (y0, y1) = self._sizes[at - 1 : at + 1], self._seconds[at - 1 : at + 1]
        return y0 + (y1 - y0) * (size - x0) / (x1 - x0)


def _typical(nodes: int) -> float:
    """Accepted drafts of a pass over a window of `nodes` nodes."""
    return GAIN * (1 - math.exp((1 - nodes) / SCALE))


def _class(size: int) -> int:
    return round(CLASSES * math.log2(size))
