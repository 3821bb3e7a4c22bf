"""Cache: entries land where they should, accepted paths close up, slots move whole."""

import pytest
import torch

from hawk.cache import Cache, Layout
from hawk.tree import Shapes, Tree

CPU = torch.device("cpu")


def new_cache(slots: int = 2, branches: int = 2, capacity: int = 40) -> Cache:
    layout = Layout(layers=2, heads=1, head_size=1, dtype=torch.float32, device=CPU)
    return Cache(layout, slots=slots, branches=branches, capacity=capacity)


def write(cache: Cache, values_RN: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    states = values_RN[:, None, :, None].float()
    cache.update(states, -states, 0)
    keys, values = cache.update(states + 1, -states - 1, 1)
    return keys[:, 0, :, 0], values[:, 0, :, 0]


def prompt(cache: Cache, lengths: list[list[int]]) -> None:
    """Entry i of row r holds 100 r + i."""
    rows = torch.arange(len(lengths) * cache.branches)[:, None] * 100
    cache.begin_prompts(range(len(lengths)), torch.tensor(lengths))
    write(cache, rows + torch.arange(max(map(max, lengths))))


def tree(parents: list[int], rows: int) -> Tree:
    return Tree(
        shapes=Shapes([parents], CPU),
        shape_B=torch.zeros(rows, dtype=torch.int64),
        tokens_BN=torch.zeros(rows, len(parents), dtype=torch.int64),
    )


def test_a_tree_is_written_behind_each_row_and_sees_its_ancestors() -> None:
    cache = new_cache()
    prompt(cache, [[3, 2], [5, 1]])
    positions, mask = cache.place(*cache.begin_tree(tree([0, 0, 0, 2], rows=2)))
    assert positions.tolist() == [[3, 4, 4, 5], [2, 3, 3, 4], [5, 6, 6, 7], [1, 2, 2, 3]]
    keys, _ = write(cache, torch.tensor([[7, 8, 9, 10]] * 4))
    for row, length in enumerate([3, 2, 5, 1]):
        before = [100 * row + i + 1 for i in range(length)]  # layer 1 adds 1
        for node, ancestors in enumerate([[7], [7, 8], [7, 9], [7, 9, 10]]):
            seen = keys[row][mask[row, 0, node]].tolist()
            assert seen == before + [a + 1 for a in ancestors]


def test_an_accepted_path_closes_up_and_the_rest_is_dropped() -> None:
    cache = new_cache()
    prompt(cache, [[3, 2], [5, 1]])
    cache.place(*cache.begin_tree(tree([0, 0, 0, 2], rows=2)))
    write(cache, torch.tensor([[7, 8, 9, 10]] * 4))
    cache.keep(torch.tensor([[0, 2, 3], [0, 1, 1]]), counts=[3, 1], move=True)
    assert cache.lengths_SG.tolist() == [[6, 5], [6, 2]]
    _, mask = cache.place(*cache.begin_tree(tree([0], rows=2)))
    keys, values = write(cache, torch.tensor([[20]] * 4))
    kept = [[7, 9, 10], [7, 9, 10], [7], [7]]
    for row, length in enumerate([3, 2, 5, 1]):
        wanted = [100 * row + i for i in range(length)] + kept[row] + [20]
        assert keys[row][mask[row, 0, 0]].tolist() == [x + 1 for x in wanted]
        assert values[row][mask[row, 0, 0]].tolist() == [-x - 1 for x in wanted]


def test_a_slot_moves_with_all_its_rows() -> None:
    cache = new_cache()
    prompt(cache, [[3, 2], [5, 1]])
    cache.move_slot(1, 0)
    _, mask = cache.place(*cache.begin_tree(tree([0], rows=1)))
    keys, _ = write(cache, torch.tensor([[20], [20]]))
    assert keys[0][mask[0, 0, 0]].tolist() == [201, 202, 203, 204, 205, 21]
    assert keys[1][mask[1, 0, 0]].tolist() == [301, 21]


def test_a_pass_allocates_no_key_value_memory() -> None:
    cache = new_cache()
    prompt(cache, [[3, 2], [5, 1]])
    cache.place(*cache.begin_tree(tree([0, 0], rows=2)))
    keys, _ = write(cache, torch.tensor([[7, 8]] * 4))
    again, _ = write(cache, torch.tensor([[7, 8]] * 4))
    assert keys.data_ptr() == again.data_ptr()


def test_a_tree_that_does_not_fit_is_refused() -> None:
    cache = new_cache(capacity=8)
    prompt(cache, [[5, 1]])
    with pytest.raises(ValueError, match="does not fit"):
        cache.begin_tree(tree([0, 0, 1, 2], rows=1))
