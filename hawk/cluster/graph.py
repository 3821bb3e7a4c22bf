"""CompiledGraph: messages through shared memory, by a Ray graph of one step that stays compiled.

Quicker than plain calls, and more delicate: an actor can be part of one graph only, so a drafter
serves one target; a new graph's first message takes seconds; and an actor whose graph lost its
other end has to be restarted before it can be part of another. `docs/pair.md` has the numbers.
"""

from typing import Any

import numpy as np
import ray
from ray.dag import InputNode
from ray.exceptions import GetTimeoutError, RayChannelTimeoutError, RayError, RayTaskError

from hawk.cluster.messages import Call, Opening
from hawk.cluster.transport import Lost, Pending

BUFFER_BYTES = 8 * 2**20  # of a message; larger ones make Ray grow it

# To a lane that nobody has opened: what answers it is ready for others.
KNOCK = Call(
    lane="", epoch=0, sequence=0, events=(), roots=np.zeros(0, dtype=np.int64), overhead_s=0.0
)


class CompiledGraph:
    """See `Transport`.

    Args:
        actor: of `DraftActor`, that nobody else asks.
    """

    def __init__(self, actor: Any) -> None:
        self._actor = actor
        self._graph: Any = None

    def open(self, opening: Opening) -> Pending:
        return _Opening(self, self._actor.open.remote(opening))

    def send(self, call: Call) -> Pending:
        return _Message(self, self._graph, call)

    def restart(self) -> None:
        self.drop(self._graph)
        ray.kill(self._actor, no_restart=False)

    def compile(self) -> Any:
        """The graph, compiled anew if need be."""
        if self._graph is None:
            with InputNode() as call:
                answer = self._actor.answer.bind(call)
            self._graph = answer.experimental_compile(_buffer_size_bytes=BUFFER_BYTES)
        return self._graph

    def drop(self, graph: Any) -> None:
        """Forget a graph that has failed, unless there is another by now."""
        if graph is not None and graph is self._graph:
            self._graph = None
            graph.teardown()


class _Message:
    """A call on its way through a graph."""

    def __init__(self, transport: CompiledGraph, graph: Any, call: Call) -> None:
        self._transport, self._graph = transport, graph
        try:
            self._reference = None if graph is None else graph.execute(call)
        except RayError:
            self._reference = None

    def wait(self, timeout_s: float) -> Any:
        if self._reference is None:
            self._transport.drop(self._graph)
            raise Lost("the graph has failed")
        try:
            return self._reference.get(timeout=timeout_s)
        except RayChannelTimeoutError as error:
            raise TimeoutError(f"no answer within {timeout_s:g} s") from error
        except RayTaskError as error:
            raise Lost(str(error.cause)) from error.cause
        except RayError as error:
            self._transport.drop(self._graph)
            raise Lost(str(error)) from error


class _Opening:
    """A lane's beginning: a plain call, then a knock through the graph."""

    def __init__(self, transport: CompiledGraph, reference: Any) -> None:
        self._transport, self._reference = transport, reference
        self._knock: _Message | None = None

    def wait(self, timeout_s: float) -> Any:
        if self._knock is None:
            try:
                ray.get(self._reference, timeout=timeout_s)
                self._knock = _Message(self._transport, self._transport.compile(), KNOCK)
            except GetTimeoutError as error:
                raise TimeoutError(f"not loaded within {timeout_s:g} s") from error
            except RayTaskError as error:
                raise Lost(str(error.cause)) from error.cause
            except RayError as error:
                raise Lost(str(error)) from error
        return self._knock.wait(timeout_s)
