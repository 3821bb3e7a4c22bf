"""A transport without a process behind it, which fails as a test wants."""

import contextlib
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from hawk.cluster.draft_actor import DraftActor
from hawk.cluster.draft_messages import DraftCall, Opening
from hawk.cluster.transport import DrafterLost


@dataclass
class Answer:
    """One that is there already."""

    make: Callable[[], Any]

    def wait(self, timeout_s: float) -> Any:
        return self.make()


class Direct:
    """See `Transport`. Messages are pickled on their way, as between processes.

    Args:
        meddle: makes the answer to the n-th call, counted from 0, from the right one; it may raise.
    """

    def __init__(self, meddle: Callable[[int, Any], Any] = lambda _, block: block) -> None:
        self._meddle = meddle
        self._server: DraftActor | None = None
        self.calls = self.opened = self.restarts = 0
        self.bytes = 0
        self._unread: dict[str, bytes] = {}
        self.restart()

    def open(self, opening: Opening) -> Answer:
        self.opened += 1
        opening = pickle.loads(pickle.dumps(opening))
        return Answer(lambda: self._running().open(opening))

    def send(self, call: DraftCall) -> Answer:
        number, self.calls = self.calls, self.calls + 1
        sent = pickle.dumps(call)
        self.bytes += len(sent)
        if (
            call.lane in self._unread
        ):  # nobody waits for that answer; the drafter learns all the same
            with contextlib.suppress(DrafterLost):
                self._answer(self._unread[call.lane])
        self._unread[call.lane] = sent

        def answer() -> Any:
            del self._unread[call.lane]
            return self._meddle(number, self._answer(sent))

        return Answer(answer)

    def restart(self) -> None:
        self._server = DraftActor("cpu", torch.get_num_threads())
        self.restarts += 1

    def kill(self) -> None:
        """As kill -9: every call is lost until a restart."""
        self._server = None

    def _answer(self, sent: bytes) -> Any:
        return pickle.loads(pickle.dumps(self._running().answer(pickle.loads(sent))))

    def _running(self) -> DraftActor:
        if self._server is None:
            raise DrafterLost("it was killed")
        return self._server
