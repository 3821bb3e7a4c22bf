"""Engine: who gets a slot, who is told what, and that company never changes an image."""

import queue
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from hawk import Pipeline, Request, SamplerConfig
from hawk.decoding.request import Finished
from hawk.decoding.session import Session
from hawk.images.gallery import tokens_sha256
from hawk.pictures import NEUTRAL
from hawk.serving.engine import Engine, Event, Work
from hawk.serving.messages import Admitted, Done, Partial, Refused
from hawk.targets.janus import Janus
from tests.tiny import GRID

WAIT_S = 120


class Watcher:
    """Collects the events of one image."""

    work: Work

    def __init__(self) -> None:
        self._events: queue.Queue[Event] = queue.Queue()
        self.seen: list[Event] = []

    def __call__(self, event: Event) -> None:
        self._events.put(event)

    def next(self) -> Event:
        self.seen.append(self._events.get(timeout=WAIT_S))
        return self.seen[-1]

    def last(self) -> Event:
        while not isinstance(event := self.next(), (Done, Refused)):
            pass
        return event

    def done(self) -> Done[Any]:
        event = self.last()
        assert isinstance(event, Done), event
        return event

    def refused(self) -> Refused:
        event = self.last()
        assert isinstance(event, Refused), event
        return event


def request(seed: int = 0, **settings: Any) -> Request:
    return Request(**{"prompt": "a red apple", "seed": seed, "guidance": 2.0} | settings)


class Desk:
    """An engine with short words for tests."""

    def __init__(self, target: Janus, *, slots: int, waiting: int) -> None:
        def pipeline(drafter: str) -> Pipeline:
            return Pipeline(target, drafter=drafter, rule="coupled", slots=slots)

        self.engine = Engine(
            {"jacobi": pipeline("jacobi"), "plain": pipeline("plain")}, waiting=waiting
        )

    def ask(
        self,
        request: Request,
        *,
        drafter: str = "jacobi",
        parts: int = 0,
        deadline_s: float = WAIT_S,
    ) -> Watcher:
        watcher = Watcher()
        watcher.work = self.engine.submit(
            request, drafter, parts=parts, deadline_s=deadline_s, emit=watcher
        )
        return watcher

    def leave(self, watcher: Watcher) -> None:
        self.engine.cancel(watcher.work)


@pytest.fixture
def desk(tiny: Janus) -> Iterator[Callable[..., Desk]]:
    desks: list[Desk] = []

    def open_desk(*, slots: int = 2, waiting: int = 20) -> Desk:
        desks.append(Desk(tiny, slots=slots, waiting=waiting))
        return desks[-1]

    yield open_desk
    for opened in desks:
        opened.engine.close()


@pytest.fixture
def gate(tiny: Janus, monkeypatch: pytest.MonkeyPatch) -> threading.Semaphore:
    """Each pass over the images takes a permit; tests hand them out."""
    permits = threading.Semaphore(0)
    prefill = tiny.prefill

    def held(*arguments: Any) -> Any:
        assert permits.acquire(timeout=WAIT_S)
        return prefill(*arguments)

    monkeypatch.setattr(tiny, "prefill", held)
    return permits


CROWD = [
    request(1),
    request(2, guidance=1.0),
    request(3, prompt="b", sampler=SamplerConfig(temperature=0.5)),
    request(4, guidance=5.0, sampler=SamplerConfig(top_k=10)),
    request(2**62, prompt="a green tree, 3d style", sampler=SamplerConfig(top_p=0.8)),
]


def test_an_image_is_the_same_alone_and_in_any_company(
    tiny: Janus, desk: Callable[..., Desk]
) -> None:
    pipeline = Pipeline(tiny, drafter="plain", rule="coupled", slots=1)
    session = pipeline.session(guided=True)
    alone = []
    for wanted in CROWD:
        session.submit(wanted)
        alone += [tokens_sha256(done.tokens_T.tolist()) for done in session.run()]
    opened = desk(slots=3)
    watchers = [
        opened.ask(wanted, drafter=drafter, parts=parts)
        for wanted in CROWD
        for drafter, parts in [("jacobi", 0), ("plain", 0), ("jacobi", 3)]
    ]
    made = [watcher.done() for watcher in watchers]
    assert [done.tokens_sha256 for done in made] == [sha for sha in alone for _ in range(3)]
    for triple in zip(made[::3], made[1::3], made[2::3], strict=True):
        assert len({done.picture.tobytes() for done in triple}) == 1


def test_it_is_the_image_of_hawk_generate(tiny: Janus, desk: Callable[..., Desk]) -> None:
    picture = Pipeline(tiny, drafter="jacobi", rule="coupled", slots=4)("a", seed=9).pictures[0]
    done = desk().ask(picture.request).done()
    assert done.tokens_sha256 == tokens_sha256(picture.tokens)
    assert np.array_equal(done.picture, np.asarray(picture.image))
    assert sum(done.commits) == done.tokens == GRID**2


def test_partial_pictures_are_the_rows_that_are_done(desk: Callable[..., Desk]) -> None:
    watcher = desk().ask(request(), parts=GRID - 1)
    done = watcher.done()
    first, *parts, last = watcher.seen
    assert isinstance(first, Admitted)
    assert last is done
    assert len(parts) > 1
    for place, part in enumerate(parts):
        assert isinstance(part, Partial)
        assert part.place == place
        assert part.commits == done.commits[: len(part.commits)]
        rows = sum(part.commits) // GRID
        assert 1 <= rows < GRID
        height = len(done.picture) * rows // GRID
        assert (part.picture[height:] == NEUTRAL).all()
        assert not (part.picture[:height] == NEUTRAL).all()


@pytest.mark.parametrize("parts", [0, 1, 3])
def test_no_more_partial_pictures_than_asked(parts: int, desk: Callable[..., Desk]) -> None:
    watcher = desk().ask(request(), parts=parts)
    watcher.done()
    assert sum(isinstance(event, Partial) for event in watcher.seen) <= parts


def test_overload_is_refused_at_once_and_who_is_taken_waits_for_those_before_him_only(
    tiny: Janus,
    desk: Callable[..., Desk],
    gate: threading.Semaphore,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """So nobody waits longer than it takes to make as many images as there are places."""
    held, order = tiny.prefill, list[int]()

    def noted(*arguments: Any) -> Any:
        order.extend(int(guidance) for guidance in arguments[2])
        return held(*arguments)

    monkeypatch.setattr(tiny, "prefill", noted)
    opened = desk(slots=2, waiting=4)
    asked = [opened.ask(request(seed, guidance=float(seed))) for seed in range(2, 2 + 4 * 6)]
    for late in asked[6:]:
        refused = late.refused()  # while no image moves on
        assert refused.reason == "overloaded"
        assert refused.retry_after_s is not None
        assert refused.retry_after_s >= 0
    gate.release(10)
    assert len({watcher.done().tokens_sha256 for watcher in asked[:6]}) == 6
    assert order == [2, 3, 4, 5, 6, 7]
    assert opened.ask(request(3)).done()


def test_those_who_leave_make_room(desk: Callable[..., Desk], gate: threading.Semaphore) -> None:
    opened = desk(slots=1, waiting=4)
    first, second, third = (opened.ask(request(seed)) for seed in range(3))
    opened.leave(second)
    opened.leave(first)
    gate.release(10)
    third.done()
    assert opened.engine.active == opened.engine.waiting == 0
    assert not any(isinstance(event, Done) for event in second.seen)
    opened.leave(third)  # too late: nothing happens
    assert opened.ask(request(5)).done()


def test_two_hundred_come_and_go(desk: Callable[..., Desk]) -> None:
    opened = desk(slots=2, waiting=300)
    for seed in range(200):
        opened.leave(opened.ask(request(seed), parts=seed % 3))
    assert opened.ask(request(1)).done()
    assert opened.engine.active == opened.engine.waiting == 0


def test_the_deadline_ends_those_in_flight_and_those_who_wait(
    desk: Callable[..., Desk], gate: threading.Semaphore
) -> None:
    opened = desk(slots=1)
    late = [opened.ask(request(seed), deadline_s=0.01) for seed in range(2)]
    patient = opened.ask(request(2))
    threading.Event().wait(0.05)
    gate.release(10)
    assert [watcher.refused().reason for watcher in late] == ["deadline", "deadline"]
    assert patient.done()


def test_a_prompt_that_does_not_fit_is_refused_and_no_other(desk: Callable[..., Desk]) -> None:
    opened = desk()
    good, bad = opened.ask(request()), opened.ask(request(prompt="z" * 5000))
    refused = bad.refused()
    assert refused.reason == "invalid"
    assert "reads up to" in refused.message
    assert good.done()


def test_an_image_that_fails_fails_alone(
    desk: Callable[..., Desk], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where a model makes no numbers of its settings."""
    step = Session.step

    def failing(self: Session) -> list[Finished]:
        return [
            replace(one, error="no numbers") if one.request.seed == 1 else one for one in step(self)
        ]

    monkeypatch.setattr(Session, "step", failing)
    opened = desk()
    watchers = [opened.ask(request(seed)) for seed in range(3)]
    refused = watchers[1].refused()
    assert refused.reason == "failed"
    assert refused.message == "the model makes no image of this: no numbers"
    assert watchers[0].done()
    assert watchers[2].done()
    assert opened.engine.active == opened.engine.waiting == 0


def test_when_the_loop_fails_all_are_told(
    tiny: Janus, desk: Callable[..., Desk], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = desk(slots=1)

    def fail(*_: object) -> None:
        raise RuntimeError("the device is gone")

    opened.engine.check()
    monkeypatch.setattr(tiny, "prefill", fail)
    watchers = [opened.ask(request(seed)) for seed in range(3)]
    assert {watcher.refused().reason for watcher in watchers} == {"broken"}
    with pytest.raises(RuntimeError, match="the device is gone"):
        opened.engine.check()
    assert opened.ask(request()).refused().reason == "broken"


def test_closing_finishes_what_was_taken(tiny: Janus) -> None:
    opened = Desk(tiny, slots=1, waiting=3)
    taken = [opened.ask(request(seed)) for seed in range(3)]
    opened.engine.close()
    assert all(watcher.done() for watcher in taken)
    assert opened.ask(request()).refused().reason == "closing"


def test_counts_and_pace_are_kept(desk: Callable[..., Desk]) -> None:
    opened = desk()
    opened.ask(request()).done()
    opened.ask(request(), drafter="plain").done()
    stats = opened.engine.stats
    assert stats.images == 2
    assert stats.tokens == 2 * GRID**2
