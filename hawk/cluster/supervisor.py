"""Supervisor: keeps the targets of a pair at work.

It hands out images and remembers what they have so far. A target that dies or hangs is replaced,
and its images go on from there on the new one.
"""

from collections import Counter, deque
from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from typing import Any

import ray
from ray.util.placement_group import PlacementGroup

from hawk import stop
from hawk.cluster.placement import Placement
from hawk.cluster.remote_drafter import Patience
from hawk.cluster.replica import TICK_S, ProcessLost, Replica, answer
from hawk.cluster.reservation import within
from hawk.cluster.target_actor import Facts, Failed, Image, Made, Opened, Run, TargetActor
from hawk.cluster.timeline import Round
from hawk.cluster.transport import PlainCalls
from hawk.decoding.request import Request
from hawk.decoding.stats import Stats
from hawk.settings import DraftSettings, ModelSettings

FRUITLESS = 3  # as many targets may die in a row without a token between them
Told = Callable[[int, list[int]], bool]
AHEAD = 2  # images that a target holds beyond its slots, so that these never run empty


class Supervisor:
    """Targets that share a drafter.

    Args:
        model, drafting: Settings of what they load.
        placement, group: where.
        drafter: the actor that they ask.

    Attributes:
        faults: rounds without drafts by reason, and `targets` that were replaced.
        resumed: tokens that images of replaced targets went on from.
    """

    def __init__(
        self,
        model: ModelSettings,
        drafting: DraftSettings,
        placement: Placement,
        group: PlacementGroup,
        drafter: Any,
    ) -> None:
        self._model, self._drafting = model, drafting
        self._placement, self._group = placement, group
        self._transport = PlainCalls(drafter)
        self.faults: Counter[str] = Counter()
        self.resumed = 0
        self._by_chance = False
        self._lost_stats = Stats()
        self._fruitless = 0
        self._run = Run(number=0, guided=False)
        self._replicas: list[Replica] = []

    def start(self) -> Facts:
        """Load all. What a target raises keeps its type."""
        targets = self._placement.targets_per_drafter
        self._replicas = [self._new(bundle) for bundle in range(targets)]
        facts: list[Facts] = [self._answer(replica.call) for replica in self._replicas]
        for replica in self._replicas:
            replica.call = None
        self._by_chance = facts[0].by_chance
        return facts[0]

    def close(self) -> None:
        for replica in self._replicas:
            ray.kill(replica.actor)
        self._replicas = []

    def ask(self, method: str, *arguments: Any) -> Any:
        """What one of the targets answers. What it raises keeps its type; RuntimeError where all
        are lost."""
        for replica in list(self._replicas):
            try:
                return self._answer(getattr(replica.actor, method).remote(*arguments))
            except ProcessLost as error:
                self._replace(replica, str(error))
        raise RuntimeError("no target of the pair answers: they are loaded anew, try again")

    def make(
        self, requests: Sequence[Request], told: Told | None = None
    ) -> Generator[Made | Failed, None, None]:
        """Images as they finish. RuntimeError where targets die again and again.

        Args:
            told: called with place and tokens of every image in flight that a target reports;
                where it returns True, the image stops.
        """
        self._begin(requests)
        waiting = deque(Image(place=place, request=r) for place, r in enumerate(requests))
        left = len(waiting)
        while left:
            for replica in self._replicas:
                self._supply(replica, waiting)
            for made in self._hear():
                left -= 1
                yield made
            left -= self._tell(told)

    def rounds(self) -> list[list[Round]]:
        """The last rounds of every target, oldest first; they are forgotten. None of lost ones."""
        found: list[list[Round]] = []
        for replica in self._replicas:
            try:
                found.append(self._answer(replica.actor.rounds.remote()))
            except ProcessLost:
                found.append([])
        return found

    def pids(self) -> list[int]:
        return [self._answer(replica.actor.pid.remote()) for replica in self._replicas]

    @property
    def stats(self) -> Stats:
        """Of the last run."""
        total = replace(self._lost_stats)
        for replica in self._replicas:
            total += replica.stats
        return total

    def _new(self, bundle: int) -> Replica:
        placement = self._placement
        process: Any = ray.remote(TargetActor)
        actor = process.options(
            max_restarts=0, **within(self._group, bundle, placement.bundles()[bundle])
        ).remote(max(1, int(placement.target_cpus)))
        started = actor.start.remote(
            self._model,
            self._drafting,
            self._transport,
            lanes=placement.lanes,
            patience=Patience(open_s=placement.start_s, block_s=placement.block_s),
        )
        return Replica(bundle=bundle, actor=actor, call=started, placement=placement)

    def _answer(self, call: Any) -> Any:
        return answer(call, self._placement.start_s)

    def _begin(self, requests: Sequence[Request]) -> None:
        """What targets still do for the run before is void."""
        guided = any(request.guidance != 1 for request in requests)
        self._run = Run(number=self._run.number + 1, guided=guided)
        self._lost_stats = Stats()
        for replica in self._replicas:
            replica.forget()

    def _supply(self, replica: Replica, waiting: deque[Image]) -> None:
        """Give a target its next call, with images to keep its slots full."""
        if replica.call is None:
            room = self._model.slots + AHEAD - len(replica.images)
            given = [waiting.popleft() for _ in range(min(room, len(waiting)))]
            replica.work(self._run, given)

    def _hear(self) -> list[Made | Failed]:
        """What targets have completed since; those that are lost are replaced."""
        replicas = {replica.call: replica for replica in self._replicas if replica.call is not None}
        ready, _ = ray.wait(list(replicas), num_returns=1, timeout=TICK_S)
        stop.check()
        made = [image for call in ready for image in self._take(replicas[call])]
        for replica in self._replicas:
            if replica.overdue:
                self._replace(replica, f"it was silent for {replica.patience_s:g} s")
        return made

    def _tell(self, told: Told | None) -> int:
        """How many images are stopped."""
        stopped = 0
        for replica in self._replicas:
            news, replica.known = replica.known, {}
            for place, tokens in news.items() if told else ():
                if told and told(place, tokens):
                    replica.drop(place)
                    stopped += 1
        return stopped

    def _take(self, replica: Replica) -> list[Made | Failed]:
        call, replica.call = replica.call, None
        try:
            said = self._answer(call)
        except ProcessLost as error:
            self._replace(replica, str(error))
            return []
        if isinstance(said, Opened):
            replica.opened.add(said.guided)
        if isinstance(said, (Facts, Opened)):
            replica.work(self._run, list(replica.images.values()))
        elif said.run == self._run:
            if said.stats.tokens > replica.stats.tokens:
                self._fruitless = 0
            self.faults += said.faults - replica.faults
            replica.learn(said, by_chance=self._by_chance)
            return said.made
        return []

    def _replace(self, replica: Replica, why: str) -> None:
        """A new process in its place, which goes on with its images."""
        ray.kill(replica.actor)
        self.faults["targets"] += 1
        self._lost_stats += replica.stats
        self._fruitless += 1
        if self._fruitless >= FRUITLESS:
            raise RuntimeError(f"{FRUITLESS} targets were lost without a token between them: {why}")
        new = self._new(replica.bundle)
        new.images = replica.images
        self.resumed += sum(len(image.known) for image in new.images.values())
        self._replicas[self._replicas.index(replica)] = new
