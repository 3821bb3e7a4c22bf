"""Tree and Verifier: tables of a tree drawn by hand, and walks through it."""

import pytest
import torch

from hawk.decoding.noise import Noise
from hawk.decoding.rules import Coupled
from hawk.decoding.sampler import Sampler, SamplerConfig
from hawk.decoding.tree import Shapes, Tree
from hawk.decoding.verifier import Commit, verify

CPU = torch.device("cpu")
#        0
#      1   4
#     2 3   5
BY_HAND = [0, 0, 1, 1, 0, 4]


def test_tables_of_a_tree_drawn_by_hand() -> None:
    shapes = Shapes([BY_HAND], CPU)
    assert (shapes.nodes, shapes.levels) == (6, 3)
    assert shapes.depths_ZN.tolist() == [[0, 1, 2, 2, 1, 2]]
    assert shapes.path_ZNL[0].tolist() == [
        [0, 0, 0], [0, 1, 1], [0, 1, 2], [0, 1, 3], [0, 4, 4], [0, 4, 5],
    ]  # fmt: skip
    assert shapes.children_ZNM.tolist() == [[[1, 4], [2, 3], [0, 0], [0, 0], [5, 0], [0, 0]]]
    assert shapes.place_ZN.tolist() == [[0, 0, 0, 1, 1, 0]]
    seen = [{0}, {0, 1}, {0, 1, 2}, {0, 1, 3}, {0, 4}, {0, 4, 5}]
    assert [set(row.nonzero().flatten().tolist()) for row in shapes.ancestors_ZNN[0]] == seen


def test_chain() -> None:
    assert Shapes.chain(0, CPU).parents_ZN.tolist() == [[0]]
    assert Shapes.chain(3, CPU).parents_ZN.tolist() == [[0, 0, 1, 2]]


@pytest.mark.parametrize("parents", [[], [1, 0], [0, 2, 1], [0, -1]])
def test_children_before_parents_are_refused(parents: list[int]) -> None:
    with pytest.raises(ValueError, match="parents must come before"):
        Shapes([parents], CPU)


def walk(tokens: list[int], picks: list[int], remaining: int = 99) -> Commit:
    tree = Tree(
        shapes=Shapes([BY_HAND], CPU),
        shape_B=torch.tensor([0]),
        tokens_BN=torch.tensor([tokens]),
    )
    certain = torch.nn.functional.one_hot(torch.tensor([picks]), 10).float()
    law = Sampler([SamplerConfig(temperature=0)], 10, CPU).law(certain)
    zeros = torch.zeros(1, 6, dtype=torch.int64)
    noise = Noise.draw(torch.tensor([0]), zeros, law.sampler.noise_scale_B11, 10)
    verdict = Coupled().judge(tree, law, noise)
    return verify(tree, verdict, torch.tensor([remaining]))


def committed(commit: Commit) -> list[int]:
    return commit.tokens_BL[0, : commit.counts_B[0]].tolist()


def test_deepest_right_path_and_the_bonus_token() -> None:
    commit = walk([9, 1, 2, 3, 4, 5], picks=[4, 0, 0, 0, 5, 7])
    assert committed(commit) == [4, 5, 7]
    assert commit.path_BL.tolist() == [[0, 4, 5]]
    assert commit.end_B.tolist() == [5]


def test_a_wrong_draft_ends_the_path_with_the_corrected_token() -> None:
    commit = walk([9, 1, 2, 3, 4, 5], picks=[1, 8, 0, 0, 5, 7])
    assert committed(commit) == [1, 8]
    assert commit.end_B.tolist() == [1]


def test_a_right_node_below_a_wrong_one_is_not_accepted() -> None:
    commit = walk([9, 1, 2, 3, 4, 5], picks=[6, 2, 0, 0, 5, 7])
    assert committed(commit) == [6]
    assert commit.end_B.tolist() == [0]


def test_repeated_siblings_do_no_harm() -> None:
    commit = walk([9, 4, 2, 3, 4, 5], picks=[4, 5, 0, 0, 5, 7])
    assert committed(commit) == [4, 5, 7]
    assert commit.path_BL.tolist() == [[0, 4, 5]]


def test_the_end_of_the_image_cuts_the_path() -> None:
    commit = walk([9, 1, 2, 3, 4, 5], picks=[4, 0, 0, 0, 5, 7], remaining=2)
    assert committed(commit) == [4, 5]
    assert commit.end_B.tolist() == [4]
