"""Budget: sizes of trees by what they are worth, on machines and models of a test's own making."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise

import pytest
import torch

from hawk.decoding.budget import NODE_OPTIONS, Budget

MOST = 64
OPTIONS = [nodes for nodes in NODE_OPTIONS if nodes <= MOST]
LONG = 10_000  # tokens that an image lacks: no end in sight


def window(nodes: float) -> float:
    """Tokens a pass of a drafter that is better than typical."""
    return 1 + 6.5 * (1 - math.exp((1 - nodes) / 14))


@dataclass
class Machine:
    """Passes of some cost and worth, both noisy.

    Attributes:
        seconds: by all nodes of a pass.
        tokens: by nodes of a tree, once the window is refined.
        slow: what seconds are multiplied by.
    """

    seconds: Callable[[float], float]
    tokens: Callable[[float], float] = window
    slow: float = 1.0
    generator: torch.Generator = field(default_factory=lambda: torch.Generator().manual_seed(0))

    def run(self, budget: Budget, passes: int, rows: int = 1) -> list[int]:
        """The sizes that the budget chooses."""
        sizes: list[int] = []
        for _ in range(passes):
            nodes = budget.choose(rows, LONG)
            mean = self.tokens(nodes) - 1
            counts = torch.poisson(torch.full((rows,), mean), generator=self.generator) + 1
            jitter = 1 + 0.1 * torch.rand((), generator=self.generator).item()
            seconds = self.seconds(rows * nodes) * jitter * self.slow
            tokens = int(counts.sum()) if nodes > 1 else rows
            budget.observe(rows, nodes, tokens, seconds)
            sizes.append(nodes)
        return sizes

    def share(self, sizes: list[int], rows: int = 1) -> float:
        """Tokens a second of some sizes over those of the best one."""
        best = max(self.tokens(n) / self.seconds(rows * n) for n in OPTIONS)
        tokens = sum(self.tokens(n) for n in sizes)
        return tokens / sum(self.seconds(rows * n) for n in sizes) / best


def flat(size: float) -> float:
    return 5 + 0.05 * size


def steep(size: float) -> float:
    return 3 + 0.4 * size


def new_budget(seconds: Callable[[float], float], rows: int = 1) -> Budget:
    return Budget.measure(lambda rows, nodes: seconds(rows * nodes), rows, MOST)


@pytest.mark.parametrize("seconds", [flat, steep])
def test_a_cold_start_is_near_the_best_at_once(seconds: Callable[[float], float]) -> None:
    machine, budget = Machine(seconds), new_budget(seconds)
    assert machine.share(machine.run(budget, 50)) > 0.9
    assert machine.share(machine.run(budget, 2000)) > 0.95


def test_a_wrong_first_curve_is_corrected() -> None:
    """Passes were timed while the machine did something else: large ones seem far too dear."""
    machine, budget = Machine(flat), new_budget(lambda size: 5 + 0.6 * size)
    assert max(machine.run(budget, 20)) < 32
    machine.run(budget, 3000)
    assert machine.share(machine.run(budget, 500)) > 0.9


def test_a_drafter_that_is_never_right_is_switched_off_and_never_costs_more() -> None:
    useless = Machine(flat, tokens=lambda nodes: 1.0)
    budget = new_budget(flat)
    useless.run(budget, 100)
    sizes = useless.run(budget, 2000)
    assert useless.share(sizes) > 0.97
    assert sum(nodes > 4 for nodes in sizes) < 200


def test_a_drafter_that_gets_better_is_switched_on_again() -> None:
    budget = new_budget(flat)
    Machine(flat, tokens=lambda nodes: 1.0).run(budget, 300)
    better = Machine(flat)
    better.run(budget, 3000)
    assert better.share(better.run(budget, 500)) > 0.9


def test_sizes_follow_the_load_at_once() -> None:
    budget = new_budget(steep, rows=64)
    machine = Machine(steep)
    for rows in (1, 64, 8, 1):
        sizes = machine.run(budget, 200, rows)
        assert machine.share(sizes, rows) > 0.9, rows
    assert max(machine.run(budget, 50, 64)) < min(machine.run(budget, 50, 1))


def test_a_machine_that_is_slow_for_a_while_changes_nothing() -> None:
    machine, budget = Machine(flat), new_budget(flat)
    machine.run(budget, 500)
    for slow in (1.8, 1.0, 3.0, 1.0):
        machine.slow = slow
        assert machine.share(machine.run(budget, 150)) > 0.9


def test_one_disturbed_step_misleads_nobody() -> None:
    machine, budget = Machine(flat), new_budget(flat)
    for _ in range(40):
        machine.slow = 50.0
        machine.run(budget, 1)
        machine.slow = 1.0
        assert machine.share(machine.run(budget, 25)) > 0.85


def test_no_more_nodes_than_the_image_lacks() -> None:
    budget = new_budget(flat)
    sizes = [budget.choose(1, lacking) for lacking in (LONG, 40, 17, 9, 2, 1)]
    assert sizes[0] > 17
    assert all(size >= lacking for size, lacking in zip(sizes[2:], (17, 9, 2, 1), strict=True))
    assert all(a >= b for a, b in pairwise(sizes))
    assert sizes[-1] == 1


def test_a_fixed_budget_has_one_size() -> None:
    budget = Budget.fixed(7)
    assert {budget.choose(rows, lacking) for rows in (1, 9) for lacking in (1, 99)} == {7}
    budget.observe(1, 7, 3, 0.1)
    assert budget.curve_ms == {1: 1000.0}


def test_passes_that_are_far_too_dear_are_not_timed() -> None:
    timed: list[int] = []

    def seconds(rows: int, nodes: int) -> float:
        timed.append(rows * nodes)
        return float(rows * nodes)

    Budget.measure(seconds, 4, MOST)
    assert timed == [1, 2, 4, 8, 16]
