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
from hawk.cluster.remote_drafter import Timeouts
from hawk.cluster.reservation import within
from hawk.cluster.target_actor import (
    FailedImage,
    FinishedImage,
    ImageTask,
    RunKey,
    SessionOpened,
    TargetActor,
    TargetInfo,
)
from hawk.cluster.target_handle import TICK_S, ProcessLost, TargetHandle, answer
from hawk.cluster.timeline import Round
from hawk.cluster.transport import PlainCalls
from hawk.decoding.request import Request
from hawk.decoding.stats import Stats
from hawk.settings import DraftSettings, ModelSettings

FRUITLESS = 3  # as many targets may die in a row without a token between them
OnProgress = Callable[[int, list[int]], bool]
AHEAD = 2  # images that a target holds beyond its slots, so that these never run empty


class Supervisor:
    """Targets that share a drafter.

    Args:
        model, drafting: Settings of what they load.
        placement, group: Resources of the targets, and the group that holds them.
        drafter: Actor of the drafter.

    Attributes:
        faults: Number of rounds without drafts by reason, and `targets` that were replaced.
        resumed: Number of tokens that images of replaced targets kept.
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
        self._run = RunKey(number=0, guided=False)
        self._targets: list[TargetHandle] = []

    def start(self) -> TargetInfo:
        """Load all. What a target raises keeps its type."""
        targets = self._placement.targets_per_drafter
        self._targets = [self._new(bundle) for bundle in range(targets)]
        facts: list[TargetInfo] = [self._answer(target.call) for target in self._targets]
        for target in self._targets:
            target.call = None
        self._by_chance = facts[0].by_chance
        return facts[0]

    def close(self) -> None:
        for target in self._targets:
            ray.kill(target.actor)
        self._targets = []

    def ask(self, method: str, *arguments: Any) -> Any:
        """What one of the targets answers. What it raises keeps its type; RuntimeError where all
        are lost."""
        for target in list(self._targets):
            try:
                return self._answer(getattr(target.actor, method).remote(*arguments))
            except ProcessLost as error:
                self._replace(target, str(error))
        raise RuntimeError("no target of the pair answers: they are loaded anew, try again")

    def make(
        self, requests: Sequence[Request], told: OnProgress | None = None
    ) -> Generator[FinishedImage | FailedImage, None, None]:
        """Images as they finish. RuntimeError where targets die again and again.

        Args:
            told: Function called with index and tokens of every image in flight that is reported;
                where it returns True, the image stops.
        """
        self._begin(requests)
        waiting = deque(ImageTask(place=place, request=r) for place, r in enumerate(requests))
        left = len(waiting)
        while left:
            for target in self._targets:
                self._supply(target, waiting)
            for made in self._hear():
                left -= 1
                yield made
            left -= self._tell(told)

    def rounds(self) -> list[list[Round]]:
        """The last rounds of every target, oldest first; they are forgotten. None of lost ones."""
        found: list[list[Round]] = []
        for target in self._targets:
            try:
                found.append(self._answer(target.actor.rounds.remote()))
            except ProcessLost:
                found.append([])
        return found

    def pids(self) -> list[int]:
        return [self._answer(target.actor.pid.remote()) for target in self._targets]

    @property
    def stats(self) -> Stats:
        """Counts of the last run."""
        total = replace(self._lost_stats)
        for target in self._targets:
            total += target.stats
        return total

    def _new(self, bundle: int) -> TargetHandle:
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
            timeouts=Timeouts(open_s=placement.start_s, block_s=placement.block_s),
        )
        return TargetHandle(bundle=bundle, actor=actor, call=started, placement=placement)

    def _answer(self, call: Any) -> Any:
        return answer(call, self._placement.start_s)

    def _begin(self, requests: Sequence[Request]) -> None:
        """What targets still do for the run before is void."""
        guided = any(request.guidance != 1 for request in requests)
        self._run = RunKey(number=self._run.number + 1, guided=guided)
        self._lost_stats = Stats()
        for target in self._targets:
            target.forget()

    def _supply(self, target: TargetHandle, waiting: deque[ImageTask]) -> None:
        """Give a target its next call, with images to keep its slots full."""
        if target.call is None:
            room = self._model.slots + AHEAD - len(target.images)
            given = [waiting.popleft() for _ in range(min(room, len(waiting)))]
            target.work(self._run, given)

    def _hear(self) -> list[FinishedImage | FailedImage]:
        """What targets have completed since; those that are lost are replaced."""
        targets = {target.call: target for target in self._targets if target.call is not None}
        ready, _ = ray.wait(list(targets), num_returns=1, timeout=TICK_S)
        stop.check()
        made = [image for call in ready for image in self._take(targets[call])]
        for target in self._targets:
            if target.overdue:
                self._replace(target, f"it was silent for {target.patience_s:g} s")
        return made

    def _tell(self, told: OnProgress | None) -> int:
        """How many images are stopped."""
        stopped = 0
        for target in self._targets:
            news, target.known = target.known, {}
            for place, tokens in news.items() if told else ():
                if told and told(place, tokens):
                    target.drop(place)
                    stopped += 1
        return stopped

    def _take(self, target: TargetHandle) -> list[FinishedImage | FailedImage]:
        call, target.call = target.call, None
        try:
            said = self._answer(call)
        except ProcessLost as error:
            self._replace(target, str(error))
            return []
        if isinstance(said, SessionOpened):
            target.opened.add(said.guided)
        if isinstance(said, (TargetInfo, SessionOpened)):
            target.work(self._run, list(target.images.values()))
        elif said.run == self._run:
            if said.stats.tokens > target.stats.tokens:
                self._fruitless = 0
            self.faults += said.faults - target.faults
            target.learn(said, by_chance=self._by_chance)
            return said.made
        return []

    def _replace(self, target: TargetHandle, why: str) -> None:
        """A new process in its place, which goes on with its images."""
        ray.kill(target.actor)
        self.faults["targets"] += 1
        self._lost_stats += target.stats
        self._fruitless += 1
        if self._fruitless >= FRUITLESS:
            raise RuntimeError(f"{FRUITLESS} targets were lost without a token between them: {why}")
        new = self._new(target.bundle)
        new.images = target.images
        self.resumed += sum(len(image.known) for image in new.images.values())
        self._targets[self._targets.index(target)] = new
