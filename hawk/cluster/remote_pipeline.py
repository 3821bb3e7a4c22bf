"""RemotePipeline: a pipeline whose drafters work in another process."""

import uuid

from hawk.cluster.lane_loop import Lane, LaneLoop
from hawk.cluster.remote_drafter import RemoteDrafter, Timeouts
from hawk.cluster.replay_drafter import ReplayDrafter
from hawk.cluster.transport import Transport
from hawk.decoding.budget import Budget
from hawk.decoding.session import Session
from hawk.decoding.target import Target
from hawk.pipeline import Pipeline


class RemotePipeline(Pipeline):
    """See `Pipeline`; its loops are `LaneLoop`.

    Args:
        transport: Connection to the drafters' process.
        lanes: Number of lanes that take turns, at most that of the slots.
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
        timeouts: Timeouts,
    ) -> None:
        super().__init__(target, drafter=drafter, rule=rule, slots=slots)
        if lanes < 1:
            raise ValueError(f"lanes must be 1 or more, got {lanes}")
        self._transport, self._lanes, self._timeouts = transport, min(lanes, slots), timeouts

    def session(self, *, guided: bool) -> LaneLoop:
        """The lanes with or without guidance; at first use it waits for the drafter to load."""
        found = self._sessions.get(guided)
        if not isinstance(found, LaneLoop):
            found = self._sessions[guided] = self._open(guided=guided)
        return found

    def _open(self, *, guided: bool) -> LaneLoop:
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
                timeouts=self._timeouts,
            )
            for number, size in enumerate(sizes)
        ]
        for drafter in drafters:
            drafter.await_open()
        return LaneLoop(
            [
                self._lane(
                    ReplayDrafter(drafter, size, self.target.device), budget, size, guided=guided
                )
                for drafter, size in zip(drafters, sizes, strict=True)
            ]
        )

    def _lane(self, drafter: ReplayDrafter, budget: Budget, slots: int, *, guided: bool) -> Lane:
        session = Session(
            self.target, drafter, self.rule, budget=budget, slots=slots, guided=guided
        )
        return Lane(session=session, drafter=drafter)
