"""Library: the trees that are expected to commit most, and which law to trust afterwards."""

import itertools

import pytest
import torch

from hawk.budget import Budget
from hawk.drafters.library import Library, Size, _sources

CPU = torch.device("cpu")
STEPS, GUESSES = 5, 3
FREE = Budget([(1, 1.0)], 8)  # larger passes cost nothing: take the largest


def library(options: tuple[int, ...] = FREE.options) -> Library:
    return Library(options, STEPS, GUESSES, CPU)


def expected_by_hand(size: Size, shape: int, hits: torch.Tensor) -> float:
    """Sum over nodes of the product of hit probabilities on the way to them."""
    total = 0.0
    for node in range(size.shapes.nodes):
        product, at = 1.0, node
        while at:
            depth = int(size.shapes.depths_TN[shape, at])
            product *= float(hits[depth - 1, size.ranks_TN[shape, at]])
            at = int(size.shapes.parents_TN[shape, at])
        total += product
    return total


@pytest.mark.parametrize("seed", range(5))
def test_the_tree_with_the_most_expected_tokens_is_taken(seed: int) -> None:
    torch.manual_seed(seed)
    made = library()
    hits = torch.rand(2, STEPS, GUESSES).sort(-1, descending=True).values * 0.6
    guesses = torch.arange(2 * STEPS * GUESSES).view(2, STEPS, GUESSES)
    tree, size = made.tree(torch.tensor([900, 901]), guesses, hits, FREE)
    assert tree.tokens_BN.shape == (2, 8)
    for row in range(2):
        wanted = [expected_by_hand(size, t, hits[row]) for t in range(len(size.ranks_TN))]
        assert wanted[tree.shape_B[row]] == pytest.approx(max(wanted))


def test_a_budget_hears_what_the_best_tree_of_each_size_would_commit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch.manual_seed(0)
    made, heard = library(), []
    hits = torch.rand(3, STEPS, GUESSES).sort(-1, descending=True).values * 0.6
    guesses = torch.zeros(3, STEPS, GUESSES, dtype=torch.int64)
    monkeypatch.setattr(FREE, "choose", lambda _, expected: heard.extend(expected) or 0)
    made.tree(torch.zeros(3, dtype=torch.int64), guesses, hits, FREE)
    for size, mean in zip(made.sizes, heard, strict=True):
        shapes = range(len(size.ranks_TN))
        best = [
            max(expected_by_hand(size, shape, hits[row]) for shape in shapes) for row in range(3)
        ]
        assert mean == pytest.approx(sum(best) / 3)


def test_tokens_are_the_guesses_of_their_step_and_rank() -> None:
    made = library()
    guesses = torch.arange(STEPS * GUESSES).view(1, STEPS, GUESSES)
    tree, size = made.tree(torch.tensor([900]), guesses, torch.full((1, STEPS, GUESSES), 0.3), FREE)
    shape = int(tree.shape_B[0])
    assert tree.tokens_BN[0, 0] == 900
    for node in range(1, 8):
        depth, rank = int(size.shapes.depths_TN[shape, node]), int(size.ranks_TN[shape, node])
        assert tree.tokens_BN[0, node] == guesses[0, depth - 1, rank]


def test_no_two_siblings_take_the_same_guess() -> None:
    for size in library().sizes:
        for parents, ranks in zip(
            size.shapes.parents_TN.tolist(), size.ranks_TN.tolist(), strict=True
        ):
            drafts = list(zip(parents, ranks, strict=True))[1:]
            assert len(set(drafts)) == len(drafts)


def test_sure_guesses_make_a_chain_and_doubtful_ones_a_bush() -> None:
    made = library()
    guesses = torch.zeros(1, STEPS, GUESSES, dtype=torch.int64)
    sure = torch.tensor([0.95, 0.02, 0.01]).expand(1, STEPS, -1)
    doubtful = torch.tensor([0.2, 0.15, 0.1]).expand(1, STEPS, -1)
    deep, _ = made.tree(torch.tensor([0]), guesses, sure, FREE)
    bushy, _ = made.tree(torch.tensor([0]), guesses, doubtful, FREE)
    assert deep.depths_BN.max() > bushy.depths_BN.max()


def test_dear_nodes_are_not_bought() -> None:
    dear = Budget([(1, 1.0), (8, 8.0)], 8)
    tree, _ = library().tree(
        torch.tensor([0]),
        torch.zeros(1, STEPS, GUESSES, dtype=torch.int64),
        torch.full((1, STEPS, GUESSES), 0.05),
        dear,
    )
    assert tree.tokens_BN.shape == (1, 1)


def test_sources_follow_first_children_then_those_of_ancestors() -> None:
    #        0
    #      1   4
    #     2 3
    source, short = _sources([0, 0, 1, 1, 0], steps=3)
    assert source[0] == [1, 2, 2]  # down the trunk, then stuck at its end
    assert short[0] == [0, 0, 1]
    assert source[1] == [2, 2, 2]
    assert source[3] == [3, 3, 3]  # a leaf at full depth: its own law, for later steps
    assert short[3] == [1, 2, 3]
    assert source[4] == [2, 2, 2]  # no children: the trunk's node at the next depth
    assert short[4] == [0, 1, 2]


def test_trees_that_cannot_be_filled_are_refused() -> None:
    with pytest.raises(ValueError, match="do not fill"):
        Library((32,), 2, 2, CPU)


def test_the_first_nodes_lie_in_their_place() -> None:
    """An accepted run of best guesses then needs no move in the cache."""
    for size in library().sizes:
        for t in range(len(size.ranks_TN)):
            trunk = list(
                itertools.takewhile(
                    lambda n, t=t, size=size: (
                        size.shapes.parents_TN[t, n] == n - 1 and size.ranks_TN[t, n] == 0
                    ),
                    range(1, size.shapes.nodes),
                )
            )
            assert size.shapes.depths_TN[t, : len(trunk) + 1].tolist() == list(
                range(len(trunk) + 1)
            )
