"""LaneLoop: sessions that take turns on one target, each with a drafter elsewhere.

While one lane is verified, the drafter works for the others. Together they are a `Loop`, as a
Session is.
"""

import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from hawk.cluster.replay_drafter import ReplayDrafter
from hawk.cluster.timeline import Round
from hawk.decoding.request import Finished, Progress, Request
from hawk.decoding.session import Session
from hawk.decoding.stats import Stats
from hawk.decoding.target import Branches

ROUNDS_KEPT = 10_000


@dataclass(eq=False, kw_only=True)
class Lane:
    """A share of the slots.

    Attributes:
        session, drafter: Session and its drafter.
        tickets: Tickets that callers know, by the session's own.
    """

    session: Session
    drafter: ReplayDrafter
    tickets: dict[int, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class _Waiting:
    ticket: int
    request: Request
    branches: Branches
    known: Sequence[int]


class LaneLoop:
    """See `Loop`.

    Args:
        lanes: One or more lanes with the same target and budget.

    Attributes:
        rounds: Timings of the last rounds.
    """

    def __init__(self, lanes: Sequence[Lane]) -> None:
        self._lanes = list(lanes)
        self.budget = lanes[0].session.budget
        self.slots = sum(lane.session.slots for lane in lanes)
        self.rounds: deque[Round] = deque(maxlen=ROUNDS_KEPT)
        self._turn = self._tickets = 0
        self._waiting: deque[_Waiting] = deque()

    @property
    def stats(self) -> Stats:
        total = Stats()
        for lane in self._lanes:
            total += lane.session.stats
        return total

    @property
    def faults(self) -> Counter[str]:
        """Rounds without drafts by reason, see `RemoteDrafter`."""
        total: Counter[str] = Counter()
        for lane in self._lanes:
            total += lane.drafter.drafter.faults
        return total

    @property
    def active(self) -> int:
        return sum(lane.session.active for lane in self._lanes)

    @property
    def busy(self) -> bool:
        return bool(self._waiting) or any(lane.session.busy for lane in self._lanes)

    def submit(
        self, request: Request, branches: Branches | None = None, *, known: Sequence[int] = ()
    ) -> int:
        """Queue an image; `known` are its tokens from the first on, if there are some already."""
        branches = branches or self._lanes[0].session.check(request)
        self._tickets += 1
        self._waiting.append(
            _Waiting(ticket=self._tickets, request=request, branches=branches, known=known)
        )
        return self._tickets

    def cancel(self, ticket: int) -> bool:
        for waiting in self._waiting:
            if waiting.ticket == ticket:
                self._waiting.remove(waiting)
                return True
        for lane in self._lanes:
            for own, common in lane.tickets.items():
                if common == ticket:
                    del lane.tickets[own]
                    return lane.session.cancel(own)
        return False

    def progress(self, ticket: int) -> Progress | None:
        for lane in self._lanes:
            for own, common in lane.tickets.items():
                if common == ticket:
                    return lane.session.progress(own)
        return None

    def run(self) -> Iterator[Finished]:
        while self.busy:
            yield from self.step()

    def step(self) -> list[Finished]:
        """The turn of one lane: a pass, then new images, then the request for its next tree."""
        for _ in self._lanes:
            lane = self._lanes[self._turn]
            self._turn = (self._turn + 1) % len(self._lanes)
            if lane.session.busy or self._waiting:
                break
        else:
            return []
        finished = self._step(lane) if lane.session.busy else []
        self._feed(lane)
        lane.drafter.request(lane.session.roots_B, lane.session.next_nodes())
        return finished

    def _step(self, lane: Lane) -> list[Finished]:
        finished = lane.session.step()
        at = lane.drafter.drafter.round
        if at.needed_s:  # replays ask nobody
            at.verified_s = time.perf_counter()
            self.rounds.append(at)
        return [replace(image, ticket=lane.tickets.pop(image.ticket)) for image in finished]

    def _feed(self, lane: Lane) -> None:
        """Let images into a lane, no more than its fair share, so that all lanes have some."""
        fair = -(-(len(self._waiting) + self.active) // len(self._lanes))
        free = min(fair, lane.session.slots) - lane.session.active
        for _ in range(min(free, len(self._waiting))):
            waiting = self._waiting.popleft()
            lane.drafter.remember(waiting.known)
            own = lane.session.submit(waiting.request, waiting.branches)
            lane.tickets[own] = waiting.ticket
        lane.session.admit()
