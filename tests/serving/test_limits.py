"""What a client may take, and what is left when it goes away; real HTTP, no cluster."""

import asyncio
import json
import socket
import threading
import time
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import httpx
import openai
import pytest

from hawk.serving import service
from hawk.serving.events import Message, merged
from hawk.serving.mailbox import ROOM_BYTES, Mailbox
from hawk.serving.messages import Admitted, Card, Done, ImageJob, Partial, Refused
from hawk.serving.replica import Replica
from hawk.targets.janus import Janus
from tests.serving.conftest import Listen, sdk
from tests.serving.running import JOB
from tests.serving.test_api import PROMPT, error_of, post
from tests.tiny import GRID

KEY, OTHER_KEY = "k" * 32, "o" * 32
WAIT_S = 120


def eventually(true: Callable[[], bool]) -> None:
    give_up = time.monotonic() + WAIT_S
    while not true():
        assert time.monotonic() < give_up
        time.sleep(0.01)


def in_flight(address: str) -> float:
    page = httpx.get(f"{address}/metrics", headers={"authorization": f"Bearer {KEY}"}).text
    [line] = [line for line in page.splitlines() if line.startswith("hawk_http_in_flight")]
    return float(line.split()[-1])


@pytest.fixture
def paused(replica: Replica, monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """While it is not set, no image moves on."""
    go = threading.Event()
    forward = replica.engine.target.forward

    def held(*arguments: Any) -> Any:
        assert go.wait(WAIT_S)
        return forward(*arguments)

    monkeypatch.setattr(replica.engine.target, "forward", held)
    return go


def test_a_key_has_so_many_requests_at_a_time(listen: Listen, paused: threading.Event) -> None:
    address = listen(keys=f"{KEY},{OTHER_KEY}", limits={"requests_per_key": 2})

    def ask(key: str) -> httpx.Response:
        return post(address, {"prompt": PROMPT}, headers={"authorization": f"Bearer {key}"})

    with ThreadPoolExecutor() as threads:
        two = [threads.submit(ask, KEY) for _ in range(2)]
        eventually(lambda: in_flight(address) == 3)  # those two, and the question itself
        refused = ask(KEY)
        other = threads.submit(ask, OTHER_KEY)
        assert "2 requests in flight" in error_of(refused, 429)["message"]
        assert int(refused.headers["retry-after"]) >= 1
        paused.set()
        assert [future.result().status_code for future in (*two, other)] == [200, 200, 200]
    assert ask(KEY).status_code == 200


def test_the_time_limit_holds_whatever_a_header_says(listen: Listen) -> None:
    address = listen(limits={"seconds": 0.001})
    headers = {"x-request-timeout-seconds": "100000", "x-request-disconnect-disabled": "?1"}
    for stream in (False, True):
        response = post(address, {"prompt": PROMPT, "stream": stream}, headers=headers)
        if stream and response.status_code == 200:  # it was let in, then the time was over
            assert '"code": "deadline_exceeded"' in response.text
        else:
            assert error_of(response, 504)["code"] == "deadline_exceeded"


@pytest.mark.parametrize("kind", [{}, {"stream": True, "every_row": True}], ids=["whole", "stream"])
def test_who_leaves_frees_the_slots(
    url: str, replica: Replica, paused: threading.Event, kind: dict[str, bool]
) -> None:
    engine = replica.engine
    tokens = engine.stats.tokens
    body = json.dumps({"prompt": PROMPT, "n": 3} | kind).encode()
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(
            b"POST /v1/images/generations HTTP/1.1\r\nHost: localhost\r\n"
            b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body
        )
        eventually(lambda: engine.active + engine.waiting == 3)
    eventually(lambda: in_flight(url) == 1)  # nobody but the question itself
    paused.set()
    eventually(lambda: engine.active == engine.waiting == 0)
    assert engine.stats.tokens - tokens < GRID**2  # of three images not one was finished
    assert post(url, {"prompt": PROMPT}).status_code == 200


class Scripted:
    """A backend that says the same about every image; a number is a pause in seconds."""

    def __init__(self, *script: Message | Exception | float) -> None:
        self._script = script

    async def card(self) -> Card:
        return Card(
            model="tiny",
            width=12,
            height=12,
            columns=6,
            rows=6,
            drafters=("plain",),
            rule="coupled",
            exact=True,
            created=0,
            settings="",
        )

    async def image(self, job: ImageJob) -> AsyncGenerator[Message, None]:
        for step in self._script:
            if isinstance(step, (int, float)):
                await asyncio.sleep(step)
            elif isinstance(step, Exception):
                raise step
            else:
                yield step

    async def metrics(self) -> dict[str, str]:
        return {}


ADMITTED = Admitted(prompt_tokens=1)
DONE = Done(picture=b"image", tokens_sha256="f", tokens=4, commits=[1, 3], seconds=1.0)
PART = Partial(place=0, picture=b"", commits=[1])


@pytest.mark.parametrize(
    ("reason", "status", "code", "kind"),
    [
        ("failed", 422, "image_failed", openai.UnprocessableEntityError),
        ("overloaded", 429, "rate_limit_exceeded", openai.RateLimitError),
        ("deadline", 504, "deadline_exceeded", openai.InternalServerError),
        ("broken", 503, "service_unavailable", openai.InternalServerError),
        ("closing", 503, "service_unavailable", openai.InternalServerError),
    ],
)
def test_refusals_have_a_status_before_the_first_event_and_an_event_after(
    listen: Listen, reason: Any, status: int, code: str, kind: type[openai.APIStatusError]
) -> None:
    refused = Refused(reason=reason, message="not now", retry_after_s=1000)
    early = listen(Scripted(refused))
    for stream in (False, True):
        response = post(early, {"prompt": PROMPT, "stream": stream})
        assert error_of(response, status)["code"] == code
        assert response.headers["retry-after"] == "60"  # at most
    with pytest.raises(kind):
        sdk(early).images.generate(prompt=PROMPT)

    late = listen(Scripted(ADMITTED, PART, refused))
    assert error_of(post(late, {"prompt": PROMPT}), status)["code"] == code
    with pytest.raises(openai.APIError, match="not now"):
        list(sdk(late).images.generate(prompt=PROMPT, stream=True))


def test_what_a_slow_reader_has_yet_to_read_is_bounded() -> None:
    async def left(*sizes: int) -> list[int]:
        box: Mailbox[int] = Mailbox(room_bytes=10)
        for number, size in enumerate(sizes):
            box.put(number, size)
        box.put(-1)
        read: list[int] = []
        while -1 not in read:
            read.append(await box.get())
        return read

    assert asyncio.run(left(0, 4, 4, 0, 4, 4)) == [0, 3, 4, 5, -1]  # what is not spare stays
    assert asyncio.run(left(4, 4)) == [0, 1, -1]
    assert asyncio.run(left(4, 50, 0)) == [2, -1]  # a large one goes as soon as others come
    assert asyncio.run(left(50, 4)) == [1, -1]


def test_a_slow_reader_of_a_stream_misses_parts_and_no_image() -> None:
    parts = [Partial(place=place, picture=bytes(2**20), commits=[1]) for place in range(30)]
    jobs = [JOB] * 10

    async def slow() -> list[tuple[int, Any]]:
        messages = merged(Scripted(ADMITTED, *parts, DONE), jobs)
        read: list[tuple[int, Any]] = [await anext(messages)]
        for _ in range(1_000):  # all images are made meanwhile
            await asyncio.sleep(0)
        return read + [message async for message in messages]

    read = asyncio.run(slow())
    assert sum(isinstance(message, Done) for _, message in read) == len(jobs)
    waited = sum(len(m.picture) for _, m in read if isinstance(m, Partial))
    assert waited <= ROOM_BYTES


def test_a_stream_that_waits_is_not_silent(listen: Listen, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "SILENCE_S", 0.05)
    address = listen(Scripted(ADMITTED, 0.3, PART, 0.3, DONE))
    raw = post(address, {"prompt": PROMPT, "stream": True}).text
    before, between, after = raw.split("event: ")
    assert before.startswith(": at work\n\n")
    assert between.endswith("\n\n: at work\n\n")
    assert after.endswith("}\n\n")
    read = list(sdk(address).images.generate(prompt=PROMPT, stream=True))
    assert [event.type.rsplit(".")[-1] for event in read] == ["partial_image", "completed"]


def test_our_own_mistakes_are_errors_of_the_same_shape_and_tell_nothing(
    listen: Listen, caplog: pytest.LogCaptureFixture
) -> None:
    for script in ([KeyError("secret")], [ADMITTED, KeyError("secret")]):
        response = post(listen(Scripted(*script)), {"prompt": PROMPT})
        assert "secret" not in str(error_of(response, 500))
    streamed = post(
        listen(Scripted(ADMITTED, KeyError("secret"))), {"prompt": PROMPT, "stream": True}
    )
    assert '"code": "internal_error"' in streamed.text
    assert "secret" not in streamed.text
    assert caplog.text.count("secret") >= 3  # but the log has it
    assert PROMPT not in caplog.text


def test_nobody_is_ready_until_a_replica_answers(
    listen: Listen, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = Scripted(ADMITTED)

    async def nobody() -> Card:
        raise ConnectionError("no replica")

    monkeypatch.setattr(backend, "card", nobody)
    address = listen(backend)
    for response in (httpx.get(f"{address}/healthz"), post(address, {"prompt": PROMPT})):
        assert error_of(response, 503)["code"] == "not_ready"
        assert response.headers["retry-after"] == "2"


def test_what_an_old_replica_says_is_forgotten_with_it(
    listen: Listen, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new ingress may come up before the model replicas of its deployment do."""
    backend = Scripted(ADMITTED)
    address = listen(backend)
    card = asyncio.run(backend.card())

    async def renamed() -> Card:
        return replace(card, model="tiny, again")

    assert sdk(address).models.list().data[0].id == "tiny"
    monkeypatch.setattr(backend, "card", renamed)
    assert sdk(address).models.list().data[0].id == "tiny, again"


def test_prompts_are_not_logged(url: str, tiny: Janus, caplog: pytest.LogCaptureFixture) -> None:
    secret = "the heir's true name"
    with caplog.at_level("DEBUG"):
        post(url, {"prompt": secret})
        post(url, {"prompt": secret * 100})
    for name in ("serve", "hawk", "uvicorn"):
        assert not any(secret in r.getMessage() for r in caplog.records if r.name.startswith(name))
