"""CUDA graphs: passes over trees without their launches.

A pass over a few nodes is hundreds of kernels, each shorter than the host takes to launch it. A
graph launches all of them at once. It holds for one shape of its inputs and for the memory that it
was captured over, so the graphs of a session's passes belong to the session's cache.
"""

from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

WORTH_IT = 2  # a shape is captured when it comes up so many times; many come up once
MOST = 256  # graphs at a time, some megabytes each; the one that was not used for longest goes

Inputs = tuple[Tensor, ...]
Outputs = tuple[Tensor, ...]
Compute = Callable[..., Outputs]
Key = tuple[int | torch.Size, ...]


class Graphs:
    """Graphs by the shapes of their inputs, captured as shapes come up again.

    Attributes:
        replayed: whether the last run was one of a graph that was there: others take longer.
    """

    def __init__(self) -> None:
        self.replayed = False
        self._graphs: dict[Key, _Graph] = {}  # the last used is the last
        self._seen: Counter[Key] = Counter()
        self._pool = torch.cuda.graph_pool_handle()  # they never run at the same time

    def __len__(self) -> int:
        return len(self._graphs)

    def clear(self) -> None:
        """Forget all: the memory that they were captured over is another."""
        self._graphs.clear()
        self._seen.clear()

    def run(self, compute: Compute, inputs: Inputs, size: int) -> Outputs:
        """`compute(*inputs)`, which must do the same for inputs of equal shapes and equal `size`:
        no branch on values, no transfer to the host. Outputs are the caller's to keep."""
        key = (size, *(tensor.shape for tensor in inputs))
        graph = self._graphs.pop(key, None)
        self.replayed = graph is not None
        if graph is None:
            self._seen[key] += 1
            if self._seen[key] < WORTH_IT:
                return compute(*inputs)
            graph = _Graph(compute, inputs, self._pool)
            if len(self._graphs) == MOST:
                oldest = next(iter(self._graphs))
                del self._graphs[oldest], self._seen[oldest]
        self._graphs[key] = graph
        return graph.replay(inputs)


class _Graph:
    """One captured computation.

    Args:
        compute, inputs: as for `Graphs.run`.
        pool: of memory.
    """

    def __init__(self, compute: Compute, inputs: Inputs, pool: Any) -> None:
        self._inputs = tuple(tensor.clone() for tensor in inputs)
        self._graph = torch.cuda.CUDAGraph()
        # Of this thread alone: others may use the device meanwhile, to decode pictures.
        with torch.cuda.graph(self._graph, pool=pool, capture_error_mode="thread_local"):
            self._outputs = compute(*self._inputs)

    def replay(self, inputs: Inputs) -> Outputs:
        for place, tensor in zip(self._inputs, inputs, strict=True):
            place.copy_(tensor)
        self._graph.replay()
        return tuple(tensor.clone() for tensor in self._outputs)
