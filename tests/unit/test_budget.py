"""Budget and Confidence: what a pass costs and what it is worth."""

import math
import random
from collections.abc import Callable

import pytest
import torch

from hawk.budget import Budget
from hawk.drafters.confidence import LEADS, Confidence


def test_costs_are_interpolated_over_all_nodes_of_a_pass() -> None:
    budget = Budget([(1, 1.0), (4, 4.0), (8, 5.0)], most_nodes=8)
    assert budget.seconds(rows=1, nodes=1) == 1.0
    assert budget.seconds(rows=2, nodes=3) == pytest.approx(4.5)
    assert budget.seconds(rows=4, nodes=4) == pytest.approx(7.0)  # beyond: the last slope


def test_the_best_rate_wins() -> None:
    budget = Budget([(1, 1.0), (4, 4.0)], most_nodes=4)
    assert budget.options == (1, 2, 3, 4)
    assert budget.choose(1, [1.0, 1.9, 2.0, 2.1]) == 0
    assert budget.choose(1, [1.0, 2.5, 2.6, 2.7]) == 1


TOKENS = [1.0, 1.5, 1.8, 2.0, 2.3, 2.5]  # for trees of 1, 2, 3, 4, 6, 8 nodes
LINEAR = [(1, 1.0), (32, 32.0)]  # no tree pays
FLAT = [(1, 1.0), (32, 1.0)]  # the largest one does


def run(
    budget: Budget, cost: Callable[[int], float], steps: int, rows: int = 1
) -> tuple[list[int], float]:
    """Sizes of the trees of some steps on a machine where one over so many nodes takes
    `cost(nodes)` seconds, and tokens per second."""
    sizes: list[int] = []
    seconds = tokens = 0.0
    for _ in range(steps):
        at = budget.choose(rows, TOKENS)
        sizes.append(budget.options[at])
        took = cost(rows * sizes[-1])
        budget.observe(rows, sizes[-1], took)
        seconds, tokens = seconds + took, tokens + TOKENS[at]
    return sizes, tokens / seconds


def nearly_flat(nodes: int) -> float:
    return 0.003 * (1 + 0.1 * (nodes - 1) / 7)


def linear(nodes: int) -> float:
    return 0.003 * nodes


@pytest.mark.parametrize("rows", [1, 4, 5])
def test_trees_that_seemed_too_dear_are_found_to_pay(rows: int) -> None:
    budget = Budget([(1, 1.0), (32 * rows, 32.0 * rows)], 8)
    sizes, _ = run(budget, lambda nodes: nearly_flat(nodes // rows), 60, rows)
    assert set(sizes[:3]) == {1}  # else nothing was wrong
    assert sizes[50:].count(8) >= 7


def test_trees_that_seemed_cheap_are_found_not_to_pay() -> None:
    sizes, _ = run(Budget(FLAT, 8), linear, 60)
    assert set(sizes[:3]) == {8}  # else nothing was wrong
    assert sizes[50:].count(1) >= 7


def test_sizes_follow_a_machine_that_changes_later() -> None:
    budget = Budget(LINEAR, 8)
    assert run(budget, linear, 3000)[0][-100:].count(1) > 90
    assert run(budget, nearly_flat, 3000)[0][-100:].count(8) > 70
    assert run(budget, linear, 3000)[0][-100:].count(1) > 90


def test_tries_cost_about_a_percent() -> None:
    _, rate = run(Budget(LINEAR, 8), linear, 5000)
    assert rate > 0.985 * TOKENS[0] / linear(1)
    _, rate = run(Budget([(1, 1.0), (8, 1.1)], 8), nearly_flat, 5000)
    assert rate > 0.985 * TOKENS[-1] / nearly_flat(8)


def test_what_cannot_pay_is_not_tried() -> None:
    """A tree of 8 nodes costs at least what the one of 6 does, and brings hardly more."""
    sizes, _ = run(Budget(LINEAR, 8), linear, 5000)
    assert 8 not in sizes
    assert {1, 2} < set(sizes)


@pytest.mark.parametrize("disturbed", range(3, 30))
def test_one_disturbed_step_misleads_nobody(disturbed: int) -> None:
    """It seems to have cost ten times as much, or, where it came before a try, the try a tenth."""
    for cost, wanted in ((nearly_flat, 8), (linear, 1)):
        budget = Budget([(1, cost(1)), (8, cost(8))], 8)
        sizes, _ = run(budget, cost, disturbed)
        sizes += run(budget, lambda nodes: 10 * cost(nodes), 1)[0]  # noqa: B023
        sizes += run(budget, cost, 30)[0]
        assert sizes[disturbed:].count(wanted) > 20


def test_what_slows_all_sizes_alike_changes_nothing() -> None:
    steady, growing = Budget(LINEAR, 8), Budget(LINEAR, 8)
    longer = iter(range(200))
    sizes, _ = run(steady, nearly_flat, 100)
    assert run(growing, lambda nodes: nearly_flat(nodes) * 1.01 ** next(longer), 100)[0] == sizes


def test_costs_do_not_drift_away() -> None:
    """Sizes are compared with each other only, and the one that seemed best by luck is taken."""
    noise = random.Random(0)
    budget = Budget([(1, 0.005), (8, 0.01)], 8)
    run(budget, lambda nodes: nearly_flat(nodes) * math.exp(noise.gauss(0, 0.3)), 100_000)
    for nodes in budget.options:
        assert 0.001 < budget.seconds(1, nodes) < 0.05


def test_where_all_passes_cost_the_same_no_other_size_is_tried() -> None:
    budget = Budget([(1, 1.0)], 8, branching=False)
    assert set(run(budget, linear, 500)[0]) == {8}


def test_a_try_that_was_not_made_is_not_counted() -> None:
    budget = Budget(LINEAR, 8)
    for _ in range(100):
        at = budget.choose(1, TOKENS)
        # The drafter of a pair was absent, and nobody waited for it.
        budget.observe(1, 1, 0.1 if at else 1.0)
    assert budget.curve_ms == {1: 1000.0, 32: 32000.0}


def test_measuring_covers_the_sizes_and_never_falls() -> None:
    asked = []

    def time_pass(rows: int, nodes: int) -> float:
        asked.append((rows, nodes))
        return 1.0 if rows * nodes < 8 else 0.5  # noise: a larger pass that seems cheaper

    budget = Budget.measure(time_pass, slots=4, most_nodes=8)
    assert (1, 1) in asked
    assert (4, 8) in asked
    assert budget.seconds(4, 8) == 1.0


def test_plain_decoding_needs_one_measurement() -> None:
    assert Budget.measure(lambda rows, nodes: 2.0, slots=4, most_nodes=1).seconds(4, 1) == 2.0


def test_hit_rates_are_learned_by_kind_and_lead() -> None:
    prior_KM = torch.tensor([[0.5, 0.1], [0.2, 0.1]])
    confidence = Confidence(prior_KM[:, None].repeat(1, len(LEADS) + 1, 1))
    bucket = confidence.file(torch.tensor([[0, 1]]), torch.tensor([[0.01, 9.0]]))
    assert confidence.rates(bucket)[0].tolist() == [
        pytest.approx([0.5, 0.1]),
        pytest.approx([0.2, 0.1]),
    ]
    hit = torch.tensor([[[True, False], [False, True]]])
    for _ in range(3000):
        confidence.add(bucket, hit, known_BJ=torch.tensor([[True, False]]))
    rates = confidence.rates(bucket)[0]
    assert rates[0, 0] > 0.99
    assert rates[1].tolist() == pytest.approx([0.2, 0.1])  # never known: never counted
    other = confidence.file(torch.tensor([[0]]), torch.tensor([[9.0]]))
    assert confidence.rates(other)[0, 0, 0] == 0.5  # another lead is another bucket
