"""SpeculativePair: a drafter and its targets in processes of their own, and who watches over them.

The targets ask the drafter directly; what is here hands out images and remembers what they have so
far. A target that dies or hangs is replaced, and its images go on from there on the new one. The
drafter's restarts are Ray's business, see `RemoteDrafter` for how targets take them.
"""

import time
from collections import Counter, deque
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any, Self

import ray
from PIL import Image as PillowImage
from ray.exceptions import GetTimeoutError, RayError, RayTaskError
from ray.util.placement_group import remove_placement_group

from hawk.cluster.beside import start_drafter
from hawk.cluster.placement import Placement
from hawk.cluster.remote_drafter import Patience
from hawk.cluster.reservation import reserve, settled, within
from hawk.cluster.target_actor import Facts, Image, Made, Making, Report, Run, TargetActor
from hawk.cluster.timeline import Round, split
from hawk.cluster.transport import PlainCalls
from hawk.pipeline import Picture, Result
from hawk.request import Request, new_requests
from hawk.sampler import SamplerConfig
from hawk.stats import Stats

WORK_S = 0.25  # of a call: what a crash can cost at most, besides loading
TICK_S = 1.0
FRUITLESS = 3  # as many targets may die in a row without a token between them
AHEAD = 2  # images that a target holds beyond its slots, so that these never run empty


@dataclass(eq=False, kw_only=True)
class _Member:
    """A target process.

    Attributes:
        bundle: its place in the placement group.
        images: that it has been given and has not finished, by place.
        call: under way, for a Report, or for Facts while it loads.
        heard_s, patience_s: when it was called, and how long it may be silent after that.
        stats, faults: of its last report.
    """

    bundle: int
    actor: Any
    call: Any
    patience_s: float
    heard_s: float = field(default_factory=time.monotonic)
    images: dict[int, Image] = field(default_factory=dict)
    stats: Stats = field(default_factory=Stats)
    faults: Counter[str] = field(default_factory=Counter)


class ProcessLost(RuntimeError):
    """A process died, or did not answer in time."""


class SpeculativePair:
    """Takes its part of a Ray cluster at once, and gives it back with `close`.

    Args:
        making: what to load.
        placement: where.

    ValueError where the model or drafter cannot be loaded, RuntimeError where there is no room.

    Attributes:
        target: what is known of the model.
        faults: rounds without drafts by reason, and `targets` that were replaced.
        resumed: tokens that images of replaced targets went on from.
    """

    def __init__(self, making: Making, placement: Placement) -> None:
        self._making, self._placement = making, settled(placement, making.device)
        self._patience = Patience(open_s=placement.start_s, block_s=placement.block_s)
        self.faults: Counter[str] = Counter()
        self.resumed = 0
        self._lost_stats = Stats()
        self._fruitless = 0
        self._run = Run(number=0, guided=False)
        self._members: list[_Member] = []
        self._drafter: Any = None
        self._group = reserve(self._placement)
        try:
            self._drafter = start_drafter(self._placement, self._group)
            self._get(self._drafter.pid.remote())
            self._members = [
                self._start_target(number) for number in range(placement.targets_per_drafter)
            ]
            self.target = self._await_all()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End all processes and free their resources; more than once is fine."""
        for member in self._members:
            ray.kill(member.actor)
        self._members = []
        if self._drafter is not None:
            ray.kill(self._drafter)
            self._drafter = None
        remove_placement_group(self._group)

    def requests(
        self,
        prompts: str | Sequence[str],
        *,
        seed: int,
        n: int,
        guidance: float | None,
        sampler: SamplerConfig | None,
        negative_prompt: str | None = None,
    ) -> list[Request]:
        """As `Pipeline.requests`."""
        made = new_requests(
            prompts,
            self.target,
            seed=seed,
            n=n,
            guidance=guidance,
            sampler=sampler,
            negative_prompt=negative_prompt,
        )
        for member in list(self._members):
            try:
                self._get(member.actor.check.remote(made))
            except ProcessLost as error:
                self._replace(member, str(error))
            else:
                break
        return made

    def run(
        self, requests: Sequence[Request], each: Callable[[Picture], object] = lambda _: None
    ) -> Result:
        """As `Pipeline.run`."""
        started = time.perf_counter()
        pictures: list[Picture] = []
        for picture in self.stream(requests):
            each(picture)
            pictures.append(picture)
        return Result(
            pictures=sorted(pictures, key=lambda picture: picture.place),
            stats=self._stats(),
            seconds=time.perf_counter() - started,
            model=self.target.name,
            drafter=self.target.drafter,
            rule=self.target.rule,
            exact=self.target.exact,
        )

    def stream(self, requests: Sequence[Request]) -> Generator[Picture, None, None]:
        """Pictures as they finish. RuntimeError where targets die again and again."""
        self._begin(requests)
        waiting = deque(Image(place=place, request=r) for place, r in enumerate(requests))
        left = len(waiting)
        while left:
            for member in self._members:
                self._supply(member, waiting)
            for made in self._hear():
                left -= 1
                yield self._picture(made, requests[made.place])

    def rounds(self) -> list[list[Round]]:
        """The last rounds of every target, oldest first; they are forgotten. None of lost ones."""
        found: list[list[Round]] = []
        for member in self._members:
            try:
                found.append(self._get(member.actor.rounds.remote()))
            except ProcessLost:
                found.append([])
        return found

    def pids(self) -> tuple[int, list[int]]:
        """Process ids of the drafter and of the targets."""
        targets = [self._get(member.actor.pid.remote()) for member in self._members]
        return self._get(self._drafter.pid.remote()), targets

    def summary(self) -> dict[str, Any]:
        """How drafter and targets got on in the last run, ready for JSON."""
        placement = self._placement
        return {
            "targets_per_drafter": placement.targets_per_drafter,
            "lanes": placement.lanes,
            "faults": dict(self.faults),
            "resumed_tokens": self.resumed,
            "round": split([at for rounds in self.rounds() for at in rounds]),
        }

    def _start_target(self, bundle: int) -> _Member:
        placement = self._placement
        process: Any = ray.remote(TargetActor)
        actor = process.options(
            max_restarts=0, **within(self._group, bundle, placement.bundles()[bundle])
        ).remote(max(1, int(placement.target_cpus)))
        started = actor.start.remote(
            self._making,
            PlainCalls(self._drafter),
            lanes=placement.lanes,
            patience=self._patience,
        )
        return _Member(bundle=bundle, actor=actor, call=started, patience_s=placement.start_s)

    def _await_all(self) -> Facts:
        facts = [self._get(member.call) for member in self._members]
        for member in self._members:
            member.call = None
        return facts[0]

    def _get(self, call: Any) -> Any:
        """An answer that must come. What a process raised keeps its type."""
        try:
            return ray.get(call, timeout=self._placement.start_s)
        except RayTaskError as error:
            raise error.cause from None
        except GetTimeoutError as error:
            raise ProcessLost(
                f"a process of the pair did not answer within {self._placement.start_s:g} s; if it "
                f"was still loading, raise start_s: --placement pair:start_s=..."
            ) from error
        except RayError as error:
            raise ProcessLost(f"a process of the pair was lost: {_sentence(error)}") from error

    def _begin(self, requests: Sequence[Request]) -> None:
        """What targets still do for the run before is void."""
        guided = any(request.guidance != 1 for request in requests)
        self._run = Run(number=self._run.number + 1, guided=guided)
        self._lost_stats = Stats()
        for member in self._members:
            member.images, member.stats, member.faults = {}, Stats(), Counter()
            member.patience_s = self._placement.start_s  # a drafter may have to load

    def _supply(self, member: _Member, waiting: deque[Image]) -> None:
        """Give a target its next call, with images to keep its slots full."""
        if member.call is not None:
            return
        room = self._making.slots + AHEAD - len(member.images)
        given = [waiting.popleft() for _ in range(min(room, len(waiting)))]
        member.images |= {image.place: image for image in given}
        self._call(member, given)

    def _call(self, member: _Member, images: Sequence[Image]) -> None:
        if member.images:
            member.heard_s = time.monotonic()
            member.call = member.actor.work.remote(self._run, images, WORK_S)

    def _hear(self) -> list[Made]:
        """What targets have completed since; those that are lost are replaced."""
        members = {member.call: member for member in self._members if member.call is not None}
        ready, _ = ray.wait(list(members), num_returns=1, timeout=TICK_S)
        made: list[Made] = []
        for call in ready:
            made += self._take(members[call], call)
        now = time.monotonic()
        for member in self._members:
            if member.call is not None and now - member.heard_s > member.patience_s:
                self._replace(member, f"it was silent for {member.patience_s:g} s")
        return made

    def _take(self, member: _Member, call: Any) -> list[Made]:
        member.call = None
        try:
            answer: Report | Facts = ray.get(call)
        except RayTaskError as error:
            raise error.cause from None  # a new process would do the same
        except RayError as error:
            self._replace(member, _sentence(error))
            return []
        if isinstance(answer, Facts):
            self._call(member, list(member.images.values()))
        elif answer.run == self._run:
            member.patience_s = self._placement.pass_s
            self._learn(member, answer)
            return answer.made
        return []

    def _learn(self, member: _Member, report: Report) -> None:
        if report.stats.tokens > member.stats.tokens:
            self._fruitless = 0
        self.faults += report.faults - member.faults
        member.stats, member.faults = report.stats, report.faults
        for made in report.made:
            del member.images[made.place]
        # Under a rule that draws by chance, tokens hang on what was drafted: those begin anew.
        if not self.target.by_chance:
            for place, known in report.known.items():
                if len(known) > len(member.images[place].known):
                    member.images[place] = replace(member.images[place], known=known)

    def _replace(self, member: _Member, why: str) -> None:
        """A new process in its place, which goes on with its images."""
        ray.kill(member.actor)
        self.faults["targets"] += 1
        self._lost_stats += member.stats
        self._fruitless += 1
        if self._fruitless >= FRUITLESS:
            raise RuntimeError(f"{FRUITLESS} targets were lost without a token between them: {why}")
        new = self._start_target(member.bundle)
        new.images = member.images
        self.resumed += sum(len(image.known) for image in new.images.values())
        self._members[self._members.index(member)] = new

    def _stats(self) -> Stats:
        total = replace(self._lost_stats)
        for member in self._members:
            total += member.stats
        return total

    def _picture(self, made: Made, request: Request) -> Picture:
        return Picture(
            place=made.place,
            request=request,
            image=PillowImage.fromarray(made.pixels),
            tokens=made.tokens,
            commits=made.commits,
            stats=made.stats,
        )


def _sentence(error: Exception) -> str:
    """The first line that says something."""
    lines = (line.strip() for line in str(error).splitlines())
    return next((line[:300] for line in lines if line), type(error).__name__)
