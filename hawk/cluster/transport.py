"""Transport: how messages get to a `DraftActor` in another process.

Plain calls of its actor. They work between any nodes, several targets can share one drafter, and
after a crash Ray has the actor back behind the same handle. A compiled graph of Ray 2.60 takes half
of their milliseconds, but an actor can be in one graph only, a new graph's first message takes
seconds, and one that has lost an end stalls what is at the other: `docs/pair.md` has the numbers.
"""

from typing import Any, Protocol

import ray
from ray.exceptions import GetTimeoutError, RayError, RayTaskError

from hawk.cluster.draft_messages import DraftCall, Opening


class DrafterLost(Exception):
    """The other side has died, or cannot do what was asked; what was on its way is gone."""


class Pending(Protocol):
    """Answer that is on its way."""

    def wait(self, timeout_s: float) -> Any:
        """The answer. TimeoutError where it takes longer; DrafterLost where it will never come."""
        ...


class Transport(Protocol):
    """A way to one DraftActor. Nothing here waits, save `Pending.wait`."""

    def open(self, opening: Opening) -> Pending:
        """Let a lane begin."""
        ...

    def send(self, call: DraftCall) -> Pending:
        """Ask for a block."""
        ...

    def restart(self) -> None:
        """Kill a server that hangs; a new one takes its place, and knows no lane."""
        ...


class PlainCalls:
    """See `Transport`.

    Args:
        actor: Ray actor of a `DraftActor`.
    """

    def __init__(self, actor: Any) -> None:
        self._actor = actor

    def open(self, opening: Opening) -> Pending:
        return _Reference(self._actor.open.remote(opening))

    def send(self, call: DraftCall) -> Pending:
        return _Reference(self._actor.answer.remote(call))

    def restart(self) -> None:
        ray.kill(self._actor, no_restart=False)


class _Reference:
    def __init__(self, reference: Any) -> None:
        self._reference = reference

    def wait(self, timeout_s: float) -> Any:
        try:
            return ray.get(self._reference, timeout=timeout_s)
        except GetTimeoutError as error:
            raise TimeoutError(f"no answer within {timeout_s:g} s") from error
        except RayTaskError as error:
            raise DrafterLost(str(error.cause)) from error.cause
        except RayError as error:
            raise DrafterLost(str(error)) from error
