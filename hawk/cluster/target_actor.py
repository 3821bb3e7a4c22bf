"""TargetActor: the process of a target. A thin shell around `LaneLoop`."""

import os
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from hawk.cluster.lane_loop import LaneLoop
from hawk.cluster.remote_drafter import Timeouts
from hawk.cluster.remote_pipeline import RemotePipeline
from hawk.cluster.timeline import Round
from hawk.cluster.transport import Transport
from hawk.decoding.request import Finished, Request
from hawk.decoding.sampler import SamplerConfig
from hawk.decoding.stats import Stats
from hawk.maker import Maker
from hawk.pipeline import Pipeline
from hawk.settings import DraftSettings, ModelSettings


@dataclass(frozen=True, kw_only=True)
class TargetInfo:
    """Properties of a loaded target.

    Attributes:
        name, default_guidance, default_sampler: Those of the `Target`.
        maker: Model, drafter and rule; the drafter is the one that `auto` stands for.
        exact, by_chance: Those of the `Rule`.
    """

    name: str
    default_guidance: float
    default_sampler: SamplerConfig
    maker: Maker
    exact: bool
    by_chance: bool


@dataclass(frozen=True, kw_only=True)
class SessionOpened:
    """A session is there, with its drafter; whether it is one with guidance."""

    guided: bool


@dataclass(frozen=True, kw_only=True)
class RunKey:
    """Some images that are made together: the number of the run, and whether there is guidance."""

    number: int
    guided: bool


@dataclass(frozen=True, kw_only=True)
class ImageTask:
    """Image to make.

    Attributes:
        place: Index of the request among those asked for.
        known: Tokens of the image that are decoded already, from the first on.
    """

    place: int
    request: Request
    known: Sequence[int] = ()


@dataclass(frozen=True, kw_only=True)
class FinishedImage:
    """Image that is complete.

    Attributes:
        place: Index of its request.
        tokens, commits, stats: Those of a `Picture`.
        pixels: uint8 [H, W, 3].
    """

    place: int
    tokens: list[int]
    commits: list[int]
    pixels: NDArray[np.uint8]
    stats: Stats


@dataclass(frozen=True, kw_only=True)
class FailedImage:
    """Image that could not be made: index of its request, and the reason."""

    place: int
    error: str


@dataclass(frozen=True, kw_only=True)
class WorkReport:
    """Progress of a target during one call.

    Attributes:
        run: Run that the report is about.
        made: Images that were completed or have failed.
        known: Tokens so far of the images in flight, by index of the request.
        stats: Counts of this process in this run.
        faults: Number of rounds without drafts by reason, of this process in this run.
    """

    run: RunKey
    made: list[FinishedImage | FailedImage]
    known: dict[int, list[int]]
    stats: Stats
    faults: Counter[str]


class TargetActor:
    """The process of a target. It loads apart from its creation, so that errors keep their type.

    Args:
        threads: Number of torch's threads.
    """

    def __init__(self, threads: int) -> None:
        torch.set_num_threads(threads)
        self._run: RunKey | None = None
        self._places: dict[int, int] = {}  # of images in flight, by ticket

    def start(
        self,
        model: ModelSettings,
        drafting: DraftSettings,
        transport: Transport,
        *,
        lanes: int,
        timeouts: Timeouts,
    ) -> TargetInfo:
        """Load. ValueError where model or drafter cannot be."""
        target = Pipeline.load(model, drafting).target
        self._pipeline = RemotePipeline(
            target,
            drafter=drafting.drafter,
            rule=drafting.rule,
            slots=model.slots,
            transport=transport,
            lanes=lanes,
            timeouts=timeouts,
        )
        rule = self._pipeline.rule
        return TargetInfo(
            name=target.name,
            default_guidance=target.default_guidance,
            default_sampler=target.default_sampler,
            maker=self._pipeline.maker,
            exact=rule.exact,
            by_chance=rule.by_chance,
        )

    def open(self, *, guided: bool) -> SessionOpened:
        """Make a session: what a run would wait for at its first pass."""
        self._pipeline.session(guided=guided)
        return SessionOpened(guided=guided)

    def check(self, requests: Sequence[Request]) -> None:
        """ValueError where the model cannot read one of them."""
        self._pipeline.check(requests)

    def work(self, run: RunKey, images: Sequence[ImageTask], seconds: float) -> WorkReport:
        """Go on, with these images besides, until one is complete or the time is over."""
        if run != self._run:
            self._begin(run)
        for image in images:
            self._places[self._lanes.submit(image.request, known=image.known)] = image.place
        until = time.monotonic() + seconds
        made: list[FinishedImage | FailedImage] = []
        while self._lanes.busy and not made and time.monotonic() < until:
            made = [self._made(finished) for finished in self._lanes.step()]
        return WorkReport(
            run=run,
            made=made,
            known=self._known(),
            stats=self._lanes.stats - self._stats,
            faults=self._lanes.faults - self._faults,
        )

    def drop(self, place: int) -> None:
        """Forget an image in flight, if it still is."""
        for ticket, own in list(self._places.items()):
            if own == place:
                self._lanes.cancel(ticket)
                del self._places[ticket]

    def decode(self, tokens: Sequence[int]) -> Any:
        """Picture of tokens, see `Pipeline.decode`."""
        return self._pipeline.decode(tokens)

    def encode(self, image: Any) -> list[int]:
        """Tokens of a picture, see `Pipeline.encode`."""
        return self._pipeline.encode(image)

    def rounds(self) -> list[Round]:
        """The last ones, oldest first; they are forgotten."""
        if self._run is None:
            return []
        rounds = list(self._lanes.rounds)
        self._lanes.rounds.clear()
        return rounds

    def _begin(self, run: RunKey) -> None:
        """Drop what is unfinished of the run before."""
        for ticket in self._places:
            self._lanes.cancel(ticket)
        self._places, self._run = {}, run
        self._lanes: LaneLoop = self._pipeline.session(guided=run.guided)
        self._lanes.rounds.clear()
        self._stats, self._faults = self._lanes.stats, self._lanes.faults

    def _made(self, finished: Finished) -> FinishedImage | FailedImage:
        place = self._places.pop(finished.ticket)
        if finished.error is not None:
            return FailedImage(place=place, error=finished.error)
        pixels = self._pipeline.target.pixels(finished.tokens_T[None])[0]
        return FinishedImage(
            place=place,
            tokens=finished.tokens_T.tolist(),
            commits=finished.commits,
            pixels=pixels.cpu().numpy(),
            stats=finished.stats,
        )

    def _known(self) -> dict[int, list[int]]:
        known: dict[int, list[int]] = {}
        for ticket, place in self._places.items():
            progress: Any = self._lanes.progress(ticket)
            if progress is not None:
                known[place] = progress.tokens_T.tolist()
        return known

    def pid(self) -> int:
        return os.getpid()
