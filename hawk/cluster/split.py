"""SplitPipeline: a pipeline whose drafters work in another process."""

import uuid

from hawk.cluster.lanes import Lane, Lanes
from hawk.cluster.remote_drafter import Patience, RemoteDrafter
from hawk.cluster.replay import Replay
from hawk.cluster.transport import Transport
from hawk.decoding.budget import Budget
from hawk.decoding.session import Session
from hawk.decoding.target import Target
from hawk.pipeline import Pipeline


class SplitPipeline(Pipeline):
    """See `Pipeline`; its loops are `Lanes`.

    Args:
        transport: to where drafters work.
        lanes: that take turns; no more than there are slots.
    """

    def __init__(  # noqa: PLR0913  # a pipeline's, and the way to the drafter
        self,
        target: Target,
        *,
        drafter: str,
        rule: str,
        slots: int,
        transport: Transport,
        lanes: int,
        patience: Patience,
    ) -> None:
        super().__init__(target, drafter=drafter, rule=rule, slots=slots)
        if lanes < 1:
            raise ValueError(f"lanes must be 1 or more, got {lanes}")
        self._transport, self._lanes, self._patience = transport, min(lanes, slots), patience

    def session(self, *, guided: bool) -> Lanes:
        """The lanes with or without guidance; at first use it waits for the drafter to load."""
        found = self._sessions.get(guided)
        if not isinstance(found, Lanes):
            found = self._sessions[guided] = self._open(guided=guided)
        return found

    def _open(self, *, guided: bool) -> Lanes:
        share, more = divmod(self.slots, self._lanes)
        sizes = [share + (number < more) for number in range(self._lanes)]
        budget = self._budget(slots=sizes[0], guided=guided)
        prefix = uuid.uuid4().hex
        drafters = [
            RemoteDrafter(
                self._transport,
                (prefix, number),
                self.drafter,
                self._identity,
                slots=size,
                by_chance=self.rule.by_chance,
                device=self.target.device,
                patience=self._patience,
            )
            for number, size in enumerate(sizes)
        ]
        for drafter in drafters:
            drafter.await_open()
        return Lanes(
            [
                self._lane(Replay(drafter, size, self.target.device), budget, size, guided=guided)
                for drafter, size in zip(drafters, sizes, strict=True)
            ]
        )

    def _lane(self, drafter: Replay, budget: Budget, slots: int, *, guided: bool) -> Lane:
        session = Session(
            self.target, drafter, self.rule, budget=budget, slots=slots, guided=guided
        )
        return Lane(session=session, drafter=drafter)
