"""Graphs: which passes are captured, and which of them are kept.

What they compute is checked by tests/exact/test_cuda.py, where there is a GPU.
"""

from typing import Any

import pytest
import torch
from torch import Tensor

from hawk.decoding import graphs
from hawk.decoding.graphs import Graphs


def double(x: Tensor) -> tuple[Tensor, ...]:
    return (2 * x,)


@pytest.fixture
def captured(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sizes of the inputs that graphs were captured for."""
    made: list[int] = []

    class Graph:
        def __init__(self, compute: Any, inputs: graphs.Inputs, _pool: Any) -> None:
            self._compute = compute
            made.append(len(inputs[0]))

        def replay(self, inputs: graphs.Inputs) -> graphs.Outputs:
            return self._compute(*inputs)

    monkeypatch.setattr(graphs, "_Graph", Graph)
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: (0, 0))
    return made


def run(some: Graphs, length: int, size: int = 0) -> bool:
    """Whether a graph was there for it."""
    (out,) = some.run(double, (torch.ones(length),), size)
    assert out.tolist() == [2.0] * length
    return some.replayed


def test_a_shape_is_captured_when_it_comes_up_again(captured: list[int]) -> None:
    some = Graphs()
    assert [run(some, 3), run(some, 3), run(some, 3)] == [False, False, True]
    assert captured == [3]
    assert [run(some, 3, size=1), run(some, 4)] == [False, False]
    assert (captured, len(some)) == ([3], 1)


def test_the_graph_that_was_not_used_for_longest_goes(
    captured: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graphs, "MOST", 2)
    some = Graphs()
    for length in (1, 1, 2, 2, 1, 3, 3):
        run(some, length)
    assert (captured, len(some)) == ([1, 2, 3], 2)
    assert [run(some, 1), run(some, 3), run(some, 2)] == [True, True, False]
    assert captured == [1, 2, 3]


def test_none_is_left_of_a_memory_that_is_gone(captured: list[int]) -> None:
    some = Graphs()
    assert [run(some, 3), run(some, 3), run(some, 3)] == [False, False, True]
    some.clear()
    assert [run(some, 3), run(some, 3), run(some, 3)] == [False, False, True]
    assert captured == [3, 3]
