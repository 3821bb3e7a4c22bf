"""Cache: entries land where they should, accepted paths close up, slots move whole, and there is
as much memory as prompts need."""

from types import SimpleNamespace
from typing import cast

import pytest
import torch
from torch import Tensor

from hawk.decoding.cache import PROMPT_STEP, VISIBLE_STEP, Cache, Layout, Room, write
from hawk.decoding.graphs import Graphs
from hawk.decoding.tree import Shapes, Tree

CPU = torch.device("cpu")
LAYOUT = Layout(layers=2, heads=1, head_size=4, dtype=torch.float32, device=CPU)


def new_cache(prompt_limit: int = 20, image: int = 20) -> Cache:
    room = Room(prompt_limit=prompt_limit, image=image)
    return Cache(LAYOUT, slots=2, branches=2, room=room)


def store(cache: Cache, numbers_RN: Tensor) -> tuple[Tensor, Tensor]:
    """Keys hold the numbers of their entries and values their negatives, one more in layer 1;
    returns what layer 1 sees."""
    numbers = numbers_RN[:, :, None, None].float()
    for layer in range(2):
        both = torch.cat([numbers + layer, -numbers - layer], 2)
        write(
            cache.seen(layer), *cache.index, both.expand(-1, -1, -1, 4).flatten(0, 1).contiguous()
        )
    keys, values = cache.seen(1)[..., 1].unbind(1)
    return keys, values


def prompt(cache: Cache, lengths: list[list[int]]) -> None:
    """Entry i of row r holds 100 r + i."""
    rows = torch.arange(len(lengths) * cache.branches)[:, None] * 100
    cache.begin_prompts(range(len(lengths)), torch.tensor(lengths))
    store(cache, rows + torch.arange(max(map(max, lengths))))


def tree(parents: list[int], rows: int) -> Tree:
    return Tree(
        shapes=Shapes([parents], CPU),
        shape_B=torch.zeros(rows, dtype=torch.int64),
        tokens_BN=torch.zeros(rows, len(parents), dtype=torch.int64),
    )


def begin(cache: Cache, parents: list[int], rows: int) -> tuple[Tensor, Tensor]:
    """Positions, and which entries of the memory each node sees."""
    positions, mask = cache.place(*cache.begin_tree(tree(parents, rows)))
    assert set(mask.unique().tolist()) <= {0, -torch.inf}
    return positions, mask[:, 0] == 0


def test_a_tree_is_written_behind_each_row_and_sees_its_ancestors() -> None:
    cache = new_cache()
    prompt(cache, [[3, 2], [5, 1]])
    positions, seen = begin(cache, [0, 0, 0, 2], rows=2)
    assert positions.tolist() == [[3, 4, 4, 5], [2, 3, 3, 4], [5, 6, 6, 7], [1, 2, 2, 3]]
    keys, _ = store(cache, torch.tensor([[7, 8, 9, 10]] * 4))
    for row, length in enumerate([3, 2, 5, 1]):
        before = [100 * row + i + 1 for i in range(length)]  # layer 1 adds 1
        for node, ancestors in enumerate([[7], [7, 8], [7, 9], [7, 9, 10]]):
            assert keys[row][seen[row, node]].tolist() == before + [a + 1 for a in ancestors]


def test_an_accepted_path_closes_up_and_the_rest_is_dropped() -> None:
    cache = new_cache()
    prompt(cache, [[3, 2], [5, 1]])
    begin(cache, [0, 0, 0, 2], rows=2)
    store(cache, torch.tensor([[7, 8, 9, 10]] * 4))
    cache.keep(torch.tensor([[0, 2, 3], [0, 1, 1]]), torch.tensor([3, 1]), [3, 1], move=True)
    assert cache.lengths_SG.tolist() == [[6, 5], [6, 2]]
    _, seen = begin(cache, [0], rows=2)
    keys, values = store(cache, torch.tensor([[20]] * 4))
    kept = [[7, 9, 10], [7, 9, 10], [7], [7]]
    for row, length in enumerate([3, 2, 5, 1]):
        wanted = [100 * row + i for i in range(length)] + kept[row] + [20]
        assert keys[row][seen[row, 0]].tolist() == [x + 1 for x in wanted]
        assert values[row][seen[row, 0]].tolist() == [-x - 1 for x in wanted]


def test_a_slot_moves_with_all_its_rows() -> None:
    cache = new_cache()
    prompt(cache, [[3, 2], [5, 1]])
    cache.move_slot(1, 0)
    _, seen = begin(cache, [0], rows=1)
    keys, _ = store(cache, torch.tensor([[20], [20]]))
    assert keys[0][seen[0, 0]].tolist() == [201, 202, 203, 204, 205, 21]
    assert keys[1][seen[1, 0]].tolist() == [301, 21]


def test_a_pass_allocates_no_key_value_memory() -> None:
    cache = new_cache()
    prompt(cache, [[3, 2], [5, 1]])
    begin(cache, [0, 0], rows=2)
    first = cache.seen(1).data_ptr()
    prompt(cache, [[3, 2], [5, 1]])
    assert cache.seen(1).data_ptr() == first


def test_memory_grows_with_the_prompts_and_keeps_what_is_there() -> None:
    cache = new_cache(prompt_limit=PROMPT_STEP + 40, image=20)
    dropped: list[int] = []  # graphs hold the addresses of the memory that they were captured over
    cache.graphs = cast(Graphs, SimpleNamespace(clear=lambda: dropped.append(cache.capacity)))
    assert cache.capacity == PROMPT_STEP + VISIBLE_STEP
    cache.begin_prompts(range(1), torch.tensor([[3, 2]]))
    store(cache, torch.tensor([[1, 2, 3], [4, 5, 0]]))
    cache.begin_prompts(range(1, 2), torch.tensor([[PROMPT_STEP + 1, 1]]))
    assert cache.capacity == PROMPT_STEP + 2 * VISIBLE_STEP, "the longest prompt needs no more"
    assert dropped == [PROMPT_STEP + VISIBLE_STEP]
    store(cache, torch.ones(2, PROMPT_STEP + 1))
    _, seen = begin(cache, [0], rows=1)
    keys, _ = store(cache, torch.tensor([[20], [20]]))
    assert keys[0][seen[0, 0]].tolist() == [2, 3, 4, 21]
    assert keys[1][seen[1, 0]].tolist() == [5, 6, 21]


def test_what_is_no_number_is_cleared_without_a_trace_on_what_is() -> None:
    cache = new_cache()
    prompt(cache, [[3, 2], [5, 1]])
    begin(cache, [0, 0], rows=2)
    store(cache, torch.full((4, 2), torch.nan))
    cache.clear(0, whole=False)
    cache.clear(1, whole=True)
    _, seen = begin(cache, [0], rows=2)
    keys, values = store(cache, torch.tensor([[20]] * 4))
    assert keys.isfinite().all()
    assert values.isfinite().all()
    assert keys[0][seen[0, 0]].tolist() == [1, 2, 3, 21]
    assert keys[1][seen[1, 0]].tolist() == [101, 102, 21]
    assert keys[2:].count_nonzero() == 2


def test_a_tree_that_does_not_fit_is_refused() -> None:
    cache = new_cache(prompt_limit=5, image=VISIBLE_STEP - 5)
    prompt(cache, [[5, 1]])
    with pytest.raises(ValueError, match="does not fit"):
        begin(cache, [0] * (VISIBLE_STEP - 4), rows=1)
