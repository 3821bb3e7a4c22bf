"""Engine: one thread that moves all images of a replica on, whoever asked for them.

Images of all requests share the slots of a `hawk.Session` (one for each drafter that was asked
for); each brings its own seed, guidance and sampler. First come, first served. All that happens to
an image is told through its `emit`, called on the engine's thread.
"""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from hawk.decoding.request import Finished, Request
from hawk.decoding.runner import RequestRunner
from hawk.decoding.stats import Stats
from hawk.images.gallery import tokens_sha256
from hawk.maker import Maker
from hawk.pictures import partial_pixels
from hawk.pipeline import Pipeline
from hawk.serving.messages import Admitted, Done, Partial, Refused

Pixels = NDArray[np.uint8]
Event = Admitted | Partial[Pixels] | Done[Pixels] | Refused


@dataclass(eq=False, kw_only=True)
class Work:
    """An image that somebody waits for.

    Attributes:
        request, drafter: Request for the image, and the name of its drafter.
        rows: Rows of the grid after which a picture is shown, ascending.
        deadline: Latest end, by `time.monotonic`, seconds.
        emit: Function that is told of every event; the last one is `Done` or `Refused`, unless it
            is cancelled.
        begun: Time of submission, by `time.monotonic`, seconds.
        ticket: Ticket of its session, once it has entered.
        shown: Number of partial pictures so far.
    """

    request: Request
    drafter: str
    rows: list[int]
    deadline: float
    emit: Callable[[Event], None]
    begun: float = field(default_factory=time.monotonic)
    ticket: int | None = None
    shown: int = 0


class Engine:
    """Makes images until it is closed.

    Args:
        pipelines: Pipelines by the name of the drafter; all of one target. Sessions of all but the
            first are made at first use.
        waiting: Number of images beyond the slots that may wait; more are refused.
    """

    def __init__(self, pipelines: Mapping[str, Pipeline], *, waiting: int) -> None:
        self._pipelines = dict(pipelines)
        first = next(iter(self._pipelines))
        self.target, self.slots = self._pipelines[first].target, self._pipelines[first].slots
        self.capacity = self.slots + waiting
        self._sessions: dict[str, RequestRunner] = {}
        self._session(first)
        self._images: set[Work] = set()  # those taken; only the thread removes some
        self._change = threading.Condition()  # guards the four below
        self._entering: list[Work] = []
        self._leaving: list[Work] = []
        self._closing = False
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="hawk-engine", daemon=True)
        self._thread.start()

    def maker(self, drafter: str) -> Maker:
        """Model, rule and drafter behind the pictures of a drafter."""
        return self._pipelines[drafter].maker

    @property
    def active(self) -> int:
        """Slots in use."""
        return sum(session.active for session in list(self._sessions.values()))

    @property
    def waiting(self) -> int:
        """Images taken that have no slot yet."""
        return max(0, self._load() - self.active)

    @property
    def stats(self) -> Stats:
        """Counts of all sessions since the start."""
        total = Stats()
        for session in list(self._sessions.values()):
            total += session.stats
        return total

    def check(self) -> None:
        """RuntimeError where the loop has failed: this engine makes no more images."""
        if self._failure is not None:
            raise RuntimeError(f"the engine failed: {self._failure}") from self._failure

    def submit(
        self,
        request: Request,
        drafter: str,
        *,
        parts: int,
        deadline_s: float,
        emit: Callable[[Event], None],
    ) -> Work:
        """Take an image, or tell `emit` at once why not; `parts` pictures are shown on the way."""
        work = Work(
            request=request,
            drafter=drafter,
            rows=_milestones(self.target.grid.height, parts),
            deadline=time.monotonic() + deadline_s,
            emit=emit,
        )
        with self._change:
            refusal = self._refusal()
            if refusal is None:
                self._entering.append(work)
                self._change.notify()
        if refusal is not None:
            emit(refusal)
        return work

    def cancel(self, work: Work) -> None:
        """Forget an image before the next step; nothing where it has ended."""
        with self._change:
            self._leaving.append(work)
            self._change.notify()

    def close(self) -> None:
        """Refuse new images, finish those taken, end the thread."""
        with self._change:
            self._closing = True
            self._change.notify()
        self._thread.join()

    def _load(self) -> int:
        """Images taken and not ended."""
        return len(self._images) + len(self._entering)

    def _refusal(self) -> Refused | None:
        if self._failure is not None:
            return Refused(reason="broken", message="this replica has failed; try again")
        if self._closing:
            return Refused(reason="closing", message="this replica is shutting down; try again")
        if self._load() >= self.capacity:
            return Refused(
                reason="overloaded",
                message=f"{self._load()} images are being made or wait already; try again later",
                retry_after_s=self._drain_s(),
            )
        return None

    def _drain_s(self) -> float:
        """Seconds until those who wait will have a slot, at the pace so far."""
        stats = self.stats
        busy_s = stats.draft_s + stats.forward_s + stats.verify_s
        return self.waiting * busy_s / max(1, stats.images)

    def _run(self) -> None:
        try:
            while not self._closing or self._load():
                self._turn()
        except Exception as error:  # noqa: BLE001  whatever it is, those who wait must hear of it
            self._break(error)

    def _turn(self) -> None:
        """Let images in and out, then one step of every session that has some."""
        self._let_in_and_out()
        for drafter, session in self._sessions.items():
            if session.busy:
                done = {finished.ticket: finished for finished in session.step()}
                for work in [work for work in self._images if work.drafter == drafter]:
                    if _ticket(work) in done:
                        self._finish(work, done[_ticket(work)])
                    elif work.rows:
                        self._show(work, session)

    def _let_in_and_out(self) -> None:
        """Sleeps until somebody wants in or out where nothing else is to do."""
        with self._change:
            self._change.wait_for(
                lambda: self._images or self._entering or self._leaving or self._closing
            )
            entering, leaving = self._entering, self._leaving
            self._entering, self._leaving = [], []
            self._images.update(entering)
        for work in entering:
            self._enter(work)
        for work in leaving:
            self._drop(work)
        now = time.monotonic()
        for work in [work for work in self._images if work.deadline < now]:
            self._drop(work)
            work.emit(Refused(reason="deadline", message="the image took too long"))

    def _enter(self, work: Work) -> None:
        request = work.request
        try:
            branches = self.target.encode(request.prompt, request.negative_prompt)
            work.ticket = self._session(work.drafter).submit(request, branches)
        except ValueError as error:
            param = self._culprit(request)
            self._end(work, Refused(reason="invalid", message=str(error), param=param))
        else:
            work.emit(Admitted(prompt_tokens=len(branches[0])))

    def _culprit(self, request: Request) -> str:
        """The field that the target cannot read."""
        try:
            self.target.encode(request.prompt)
        except ValueError:
            return "prompt"
        return "negative_prompt"

    def _drop(self, work: Work) -> None:
        if work in self._images:
            self._sessions[work.drafter].cancel(_ticket(work))
            self._images.discard(work)

    def _show(self, work: Work, session: RequestRunner) -> None:
        progress = session.progress(_ticket(work))
        if progress is None:
            return
        done = len(progress.tokens_T) // self.target.grid.width
        if done < work.rows[0]:
            return
        work.rows = [row for row in work.rows if row > done]
        pixels = partial_pixels(self.target, progress.tokens_T).cpu().numpy()
        work.emit(Partial(place=work.shown, picture=pixels, commits=progress.commits))
        work.shown += 1

    def _finish(self, work: Work, finished: Finished) -> None:
        if finished.error is not None:
            message = f"the model makes no image of this: {finished.error}"
            self._end(work, Refused(reason="failed", message=message))
            return
        tokens = finished.tokens_T.tolist()
        done = Done(
            picture=self._pixels(finished.tokens_T),
            tokens_sha256=tokens_sha256(tokens),
            tokens=len(tokens),
            commits=finished.commits,
            seconds=time.monotonic() - work.begun,
        )
        self._end(work, done)

    def _pixels(self, tokens_T: torch.Tensor) -> Pixels:
        """One image at a time, so that its bytes do not depend on its company."""
        return self.target.pixels(tokens_T[None])[0].cpu().numpy()

    def _end(self, work: Work, event: Event) -> None:
        self._images.discard(work)
        work.emit(event)

    def _break(self, error: Exception) -> None:
        with self._change:
            self._failure = error
            self._images.update(self._entering)
            self._entering = []
        for work in list(self._images):
            self._end(work, Refused(reason="broken", message=f"the replica failed: {error}"))

    def _session(self, drafter: str) -> RequestRunner:
        if drafter not in self._sessions:
            self._sessions[drafter] = self._pipelines[drafter].session(guided=True)
        return self._sessions[drafter]


def _ticket(work: Work) -> int:
    assert work.ticket is not None, "this image has not entered its session"
    return work.ticket


def _milestones(height: int, parts: int) -> list[int]:
    """Rows after which to show a picture: evenly spread, each at most once, never the last."""
    parts = min(parts, height - 1)
    return [height * part // (parts + 1) for part in range(1, parts + 1)]
