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

WORTH_IT = 2  # number of times that a shape comes up until it is captured; many come up once
MOST = 256  # graphs held at a time, some megabytes each; the least recently used one goes

Inputs = tuple[Tensor, ...]
Outputs = tuple[Tensor, ...]
Compute = Callable[..., Outputs]
Key = tuple[int | torch.Size, ...]


class Graphs:
    """Graphs by the shapes of their inputs, captured as shapes come up again.

    Attributes:
        replayed: True where the last run replayed a graph that was there; other runs take longer.
    """

    def __init__(self) -> None:
        self.replayed = False
        self._graphs: dict[Key, _Graph] = {}  # the last used is the last
        self._seen: Counter[Key] = Counter()
        self._pool = torch.cuda.graph_pool_handle()  # they never run at the same time

    def __len__(self) -> int:
        return len(self._graphs)

    def clear(self) -> None:
        """Drop all graphs, as the memory that they were captured over is gone."""
        self._graphs.clear()
        self._seen.clear()

    def run(self, compute: Compute, inputs: Inputs, size: int) -> Outputs:
        """Outputs of `compute(*inputs)`, which are the caller's to keep.

        Args:
            compute: Function that does the same for inputs of equal shapes and equal `size`: no
                branch on values, no transfer to the host.
            inputs: Tensors that may change between runs.
            size: Any other number that decides what is computed.
        """
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
        compute, inputs: Arguments of `Graphs.run`.
        pool: Memory pool that all graphs share.
    """

    def __init__(self, compute: Compute, inputs: Inputs, pool: Any) -> None:
        self._inputs = tuple(tensor.clone() for tensor in inputs)
        self._graph = torch.cuda.CUDAGraph()
        # Capture this thread alone: others may use the device meanwhile, to decode pictures.
        with torch.cuda.graph(self._graph, pool=pool, capture_error_mode="thread_local"):
            self._outputs = compute(*self._inputs)

    def replay(self, inputs: Inputs) -> Outputs:
        for place, tensor in zip(self._inputs, inputs, strict=True):
            place.copy_(tensor)
        self._graph.replay()
        return tuple(tensor.clone() for tensor in self._outputs)
