"""RemoteBackend: what becomes of an image whose replica dies; replicas are played by scripts."""

import asyncio
from collections.abc import AsyncIterator, Generator
from dataclasses import replace
from typing import Any

import pytest
from ray.exceptions import ActorDiedError
from ray.serve.exceptions import BackPressureError

from hawk.serving.events import Message
from hawk.serving.messages import Admitted, Done, ImageJob, Partial, Refused
from hawk.serving.remote_backend import RemoteBackend
from tests.serving.running import JOB

WHOLE = replace(JOB, streamed=False, parts=0)
ADMITTED = Admitted(prompt_tokens=3)
DONE = Done(picture=b"image", tokens_sha256="f", tokens=4, commits=[1, 3], seconds=1.0)
BROKEN = Refused(reason="broken", message="failed")
CLOSING = Refused(reason="closing", message="leaving")
FOREVER = object()


def part(place: int) -> Partial[bytes]:
    return Partial(place=place, picture=b"part", commits=[1])


class Response:
    """What a call returns: messages, one by one or all at once, or an exception in their place."""

    def __init__(self, script: list[Any]) -> None:
        self._script, self.cancelled = script, False

    async def __aiter__(self) -> AsyncIterator[Message]:
        for step in self._script:
            if isinstance(step, Exception):
                raise step
            if step is FOREVER:
                await asyncio.Future()
            yield step

    def __await__(self) -> Generator[Any, None, list[Message]]:
        async def every() -> list[Message]:
            return [message async for message in self]

        return every().__await__()

    def cancel(self) -> None:
        self.cancelled = True


class Handle:
    """A deployment handle; each call is the next script."""

    def __init__(self, *scripts: list[Any]) -> None:
        self.scripts = list(scripts)
        self.jobs: list[ImageJob] = []
        self.responses: list[Response] = []
        self.image = self.whole = self

    def options(self, *, stream: bool) -> "Handle":
        assert stream
        return self

    def remote(self, job: ImageJob) -> Response:
        self.jobs.append(job)
        self.responses.append(Response(self.scripts.pop(0)))
        return self.responses[-1]


def told(*scripts: list[Any], job: ImageJob = JOB) -> tuple[list[Message], Handle]:
    handle: Any = Handle(*scripts)

    async def listen() -> list[Message]:
        return [message async for message in RemoteBackend(handle).image(job)]

    return asyncio.run(listen()), handle


@pytest.mark.parametrize("end", [ActorDiedError(), BROKEN, CLOSING])
def test_a_lost_image_is_made_once_more_and_nothing_is_told_twice(end: object) -> None:
    first = [ADMITTED, part(0), part(1), end]
    second = [ADMITTED, part(0), part(1), part(2), DONE]
    messages, handle = told(first, second)
    assert messages == [ADMITTED, part(0), part(1), part(2), DONE]
    assert handle.jobs == [JOB, JOB]  # the same seed: the same image
    lost, whole = handle.responses
    assert lost.cancelled == isinstance(end, Exception)  # one that has ended costs no call more
    assert not whole.cancelled


@pytest.mark.parametrize("end", [ActorDiedError(), BROKEN, CLOSING])
def test_a_lost_image_that_comes_at_once_is_made_once_more(end: object) -> None:
    messages, handle = told([end], [ADMITTED, DONE], job=WHOLE)
    assert messages == [ADMITTED, DONE]
    assert handle.jobs == [WHOLE, WHOLE]
    assert handle.responses[0].cancelled == isinstance(end, Exception)


def test_an_image_that_comes_at_once_is_given_up_with_its_client() -> None:
    handle: Any = Handle([FOREVER])

    async def leave() -> None:
        waiting = asyncio.create_task(anext(RemoteBackend(handle).image(WHOLE)))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    asyncio.run(leave())
    assert handle.responses[0].cancelled


def test_an_image_that_nobody_waits_for_is_given_up() -> None:
    handle: Any = Handle([ADMITTED, DONE])

    async def leave() -> None:
        messages = RemoteBackend(handle).image(JOB)
        assert await anext(messages) == ADMITTED
        await messages.aclose()

    asyncio.run(leave())
    assert handle.responses[0].cancelled


def test_the_second_death_is_told() -> None:
    messages, handle = told([ADMITTED, ActorDiedError()], [ActorDiedError()])
    [admitted, refused] = messages
    assert admitted == ADMITTED
    assert isinstance(refused, Refused)
    assert refused.reason == "broken"
    assert "try again" in refused.message
    assert handle.scripts == []


@pytest.mark.parametrize("reason", ["invalid", "failed", "overloaded", "deadline"])
def test_what_another_replica_cannot_mend_is_not_tried_again(reason: Any) -> None:
    refused = Refused(reason=reason, message="no")
    messages, handle = told([refused])
    assert messages == [refused]
    assert len(handle.jobs) == 1


def test_a_full_queue_is_overload() -> None:
    messages, _ = told([BackPressureError(5, 5)])
    [refused] = messages
    assert isinstance(refused, Refused)
    assert refused.reason == "overloaded"
    assert refused.retry_after_s


def test_other_failures_are_not_hidden() -> None:
    with pytest.raises(KeyError):
        told([ADMITTED, KeyError("a mistake of ours")])
