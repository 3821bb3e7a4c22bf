"""TargetHandle: one of the target processes of a pair, as those outside of it see it."""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayError, RayTaskError

from hawk import stop
from hawk.cluster.placement import Placement
from hawk.cluster.target_actor import ImageTask, RunKey, WorkReport
from hawk.decoding.stats import Stats

TICK_S = 0.5
WORK_S = 0.25  # of a call: what a crash can cost at most, besides loading


class ProcessLost(RuntimeError):
    """A process died, or did not answer in time."""


@dataclass(eq=False, kw_only=True)
class TargetHandle:
    """A target process, what it was given, and what it has said.

    Attributes:
        bundle: Index of its bundle in the placement group.
        call: Call under way: for TargetInfo or SessionOpened while it loads, else for a WorkReport.
        placement: Time limits of the process.
        loads: True while it is loading and makes no images.
        opened: True for a session with guidance that it has, False for one without.
        heard_s: Time of its last call.
        images: Images that it was given and has not finished, by index of the request.
        known: Tokens so far of images in flight, by index, until they are read.
        stats, faults: Those of its last report.
    """

    bundle: int
    actor: Any
    call: Any
    placement: Placement
    loads: bool = True
    opened: set[bool] = field(default_factory=set)
    heard_s: float = field(default_factory=time.monotonic)
    images: dict[int, ImageTask] = field(default_factory=dict)
    known: dict[int, list[int]] = field(default_factory=dict)
    stats: Stats = field(default_factory=Stats)
    faults: Counter[str] = field(default_factory=Counter)

    @property
    def patience_s(self) -> float:
        """How long it may be silent: what is loaded has no reason to be so for long."""
        return self.placement.start_s if self.loads else self.placement.pass_s

    @property
    def overdue(self) -> bool:
        return self.call is not None and time.monotonic() - self.heard_s > self.patience_s

    def forget(self) -> None:
        """All of the run before."""
        self.images, self.known, self.stats, self.faults = {}, {}, Stats(), Counter()

    def drop(self, place: int) -> None:
        """Have it forget an image."""
        del self.images[place]
        self.actor.drop.remote(place)

    def work(self, run: RunKey, images: Sequence[ImageTask]) -> None:
        """Call it, with these images besides; not where it has none.

        Where it has no session for them it is to open one, and is given them when it has.
        """
        self.images |= {image.place: image for image in images}
        if not self.images:
            return
        self.heard_s, self.loads = time.monotonic(), run.guided not in self.opened
        if self.loads:
            self.call = self.actor.open.remote(guided=run.guided)
        else:
            self.call = self.actor.work.remote(run, images, WORK_S)

    def learn(self, report: WorkReport, *, by_chance: bool) -> None:
        self.stats, self.faults, self.known = report.stats, report.faults, report.known
        for made in report.made:
            del self.images[made.place]
        # Under a rule that draws by chance, tokens hang on what was drafted: those begin anew.
        if not by_chance:
            for place, known in report.known.items():
                if len(known) > len(self.images[place].known):
                    self.images[place] = replace(self.images[place], known=known)


def answer(call: Any, seconds: float) -> Any:
    """What a process of the pair answers. What it raised keeps its type; ProcessLost for none."""
    until = time.monotonic() + seconds
    while not ray.wait([call], timeout=TICK_S)[0] and time.monotonic() < until:
        stop.check()
    try:
        return ray.get(call, timeout=0)
    except RayTaskError as error:
        raise error.cause from None
    except GetTimeoutError as error:
        raise ProcessLost(
            f"a process of the pair did not answer within {seconds:g} s; if it was still loading, "
            f"raise start_s: --placement pair:start_s=..."
        ) from error
    except RayError as error:
        lines = (line.strip() for line in str(error).splitlines())
        why = next((line[:300] for line in lines if line), type(error).__name__)
        raise ProcessLost(f"a process of the pair was lost: {why}") from error
