"""`hawk serve` as users run it: its own process, Ray Serve, real sockets. One start for all tests.

The order matters in one place: the last test but one ends the service.
"""

import asyncio
import base64
import io
import os
import random
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from PIL import Image

from tests.serving.conftest import sdk
from tests.serving.running import (
    KEY,
    PROMPT,
    WAIT_S,
    Running,
    crowd,
    eventually,
    fingerprint,
    running,
    settings,
)

pytestmark = [pytest.mark.ray, pytest.mark.slow]

SLOTS, WAITING, MOST_REPLICAS = 2, 10, 2
CAPACITY = (SLOTS + WAITING) * MOST_REPLICAS
KILLS = 3


@pytest.fixture(scope="module")
def service(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    config = settings(
        tiny_folder, slots=SLOTS, waiting=WAITING, replicas={"ceiling": MOST_REPLICAS, "images": 2}
    )
    command = ["-c", "from hawk.cli.app import app; app()", "serve", "--json", "--config"]
    proxy = "http://127.0.0.1:9"  # which answers nobody: no call on this machine is to go there
    with running(
        command, config, tmp_path_factory.mktemp("serve"), http_proxy=proxy, https_proxy=proxy
    ) as service:
        yield service


def test_images_are_those_of_plain_decoding(service: Running, expected: dict[int, str]) -> None:
    three = service.post(n=3, seed=4).json()["data"]
    assert [one["hawk"]["tokens_sha256"] for one in three] == [expected[s] for s in (4, 5, 6)]
    alone = service.post(seed=4, drafter="plain").json()["data"][0]
    assert pixels(alone) == pixels(three[0])  # the files name their drafters


def pixels(image: dict[str, Any]) -> bytes:
    with Image.open(io.BytesIO(base64.b64decode(image["b64_json"]))) as picture:
        return picture.tobytes()


def test_nobody_else_reaches_any_process_of_it(service: Running) -> None:
    """Ray's own ports and Serve's, beside the one that was asked for."""
    assert service.open_to_others() == []


def test_its_replicas_unpickle_nothing_from_strangers(service: Running) -> None:
    answers = set[grpc.StatusCode]()
    for port in service.replica_ports():
        with (
            grpc.insecure_channel(f"127.0.0.1:{port}") as channel,
            pytest.raises(grpc.RpcError) as refused,
        ):
            channel.unary_unary("/ray.serve.ASGIService/HandleRequest")(b"", timeout=WAIT_S)
        answers.add(refused.value.code())  # pyright: ignore[reportAttributeAccessIssue]
    # Ray's own port knows no such call.
    assert answers == {grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.UNIMPLEMENTED}


def test_the_openai_client_streams(service: Running) -> None:
    stream = sdk(service.url, KEY).images.generate(
        prompt=PROMPT, stream=True, partial_images=3, extra_body={"seed": 4}
    )
    *parts, last = list(stream)
    assert 1 <= len(parts) <= 3
    assert last.type == "image_generation.completed"
    assert last.b64_json == service.post(seed=4).json()["data"][0]["b64_json"]


def test_strangers_stay_outside(service: Running) -> None:
    assert httpx.get(f"{service.url}/v1/models").status_code == 401
    assert httpx.get(f"{service.url}/healthz", timeout=WAIT_S).status_code == 200


def test_two_hundred_come_and_go(service: Running) -> None:
    async def leave_early(client: httpx.AsyncClient, seed: int) -> None:
        body = {"prompt": PROMPT, "seed": seed, "stream": seed % 2 == 0, "every_row": True}
        try:
            async with asyncio.timeout(0.02 + 0.01 * (seed % 10)):
                await client.post(f"{service.url}/v1/images/generations", json=body)
        except TimeoutError:
            pass

    async def everybody() -> None:
        for first in range(0, 200, 20):
            async with httpx.AsyncClient(headers=service.headers) as client:
                await asyncio.gather(*(leave_early(client, first + i) for i in range(20)))

    asyncio.run(everybody())
    eventually(
        lambda: (
            sum(service.metric("hawk_slots_in_use") + service.metric("hawk_waiting_images")) == 0
        ),
        "all slots free",
    )
    assert service.post(seed=4).status_code == 200


def test_overload_is_turned_away_and_nobody_is_lost(
    service: Running, expected: dict[int, str]
) -> None:
    seeds = [seed % 60 for seed in range(4 * CAPACITY)]
    answers = crowd(service, seeds)
    statuses = Counter(response.status_code for _, response in answers)
    assert set(statuses) <= {200, 429}, statuses
    assert statuses[200] >= SLOTS + WAITING
    assert statuses[429] > 0
    for seed, response in answers:
        if response.status_code == 200:
            assert fingerprint(response) == expected[seed]
        else:
            assert 1 <= int(response.headers["retry-after"]) <= 60
            assert response.json()["error"]["code"] == "rate_limit_exceeded"


def test_replicas_follow_the_load_up_and_down(service: Running) -> None:
    eventually(
        lambda: bool(crowd(service, list(range(10)))) and len(service.metric("hawk_slots")) == 2,
        "a second replica under load",
    )
    eventually(lambda: len(service.metric("hawk_slots")) == 1, "one replica when idle")


def test_replicas_that_die_take_no_request_with_them(
    service: Running, expected: dict[int, str]
) -> None:
    draw = random.Random(0)
    answers: list[tuple[int, httpx.Response]] = []
    for _ in range(KILLS):
        eventually(lambda: bool(service.replicas()), "a replica to kill")
        victim = draw.choice(service.replicas())

        async def shoot(delay_s: float, victim: int = victim) -> None:
            await asyncio.sleep(delay_s)
            os.kill(victim, signal.SIGKILL)

        async def under_fire(delay_s: float, shoot: Any = shoot) -> None:
            load = asyncio.to_thread(crowd, service, list(range(8)))
            answers.extend((await asyncio.gather(load, shoot(delay_s)))[0])

        asyncio.run(under_fire(draw.random() * 0.3))
    statuses = Counter(response.status_code for _, response in answers)
    assert set(statuses) <= {200, 503}, statuses
    assert statuses[200] >= len(answers) // 2, statuses
    for seed, response in answers:
        if response.status_code == 200:
            assert fingerprint(response) == expected[seed]
        else:
            assert response.json()["error"]["code"] == "service_unavailable"


def test_shutting_down_finishes_what_runs(service: Running, expected: dict[int, str]) -> None:
    async def leave() -> list[tuple[int, httpx.Response]]:
        load = asyncio.create_task(asyncio.to_thread(crowd, service, list(range(10))))
        while not sum(service.metric("hawk_slots_in_use")):
            await asyncio.sleep(0.05)
        service.process.send_signal(signal.SIGTERM)
        return await load

    eventually(lambda: service.post(seed=0).status_code == 200, "a replica after the last kill")
    answers = asyncio.run(leave())
    assert {response.status_code for _, response in answers} == {200}
    assert all(fingerprint(response) == expected[seed] for seed, response in answers)
    assert service.process.wait(timeout=WAIT_S) == 0


def test_stdout_has_our_json_and_nothing_of_ray(service: Running) -> None:
    """The first line has been read; the one before has ended the service."""
    assert service.process.stdout is not None
    assert service.process.stdout.read() == ""
