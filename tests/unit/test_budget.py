"""Budget and Confidence: what a pass costs and what it is worth."""

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


def test_a_dear_step_makes_larger_trees_worth_it() -> None:
    budget = Budget([(1, 1.0), (4, 4.0)], most_nodes=4)
    assert budget.choose(1, [1.0, 1.5, 1.9, 2.2]) == 0
    for _ in range(200):
        budget.add_overhead(10.0)
    assert budget.choose(1, [1.0, 1.5, 1.9, 2.2]) == 3


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
