"""`hawk serve` as users run it: its own process, Ray Serve, real sockets. One start for all tests.

The order matters in one place: the last test but one ends the service.
"""

import asyncio
import json
import os
import random
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from hawk import Pipeline
from hawk.gallery import tokens_sha256
from hawk.targets.janus import Janus
from tests.serve.conftest import sdk
from tests.serve.running import KEY, PROMPT, WAIT_S, Running, crowd, eventually, fingerprint

pytestmark = [pytest.mark.ray, pytest.mark.slow]

SLOTS, WAITING, MOST_REPLICAS = 2, 10, 2
CAPACITY = (SLOTS + WAITING) * MOST_REPLICAS
INGRESSES = 2
KILLS = 5
DEPLOY = """
import pathlib, ray, sys
from serve import config, local
ray.init(address=sys.argv[1], log_to_driver=False, logging_level="ERROR")
local.start(local.guarded(config.read_config(pathlib.Path(sys.argv[2]))))
"""


@pytest.fixture(scope="module")
def service(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("serve")
    file = folder / "serve.yaml"
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    config = {
        "http": {"port": port},
        "model": {
            "name": str(tiny_folder),
            "served_as": "tiny",
            "drafters": ["jacobi", "plain"],
            "slots": SLOTS,
            "waiting": WAITING,
        },
        "replicas": {
            "ceiling": MOST_REPLICAS,
            "images": 2,
            "up_delay_s": 1,
            "down_delay_s": 5,
            "cpus": 0.5,
            "ingresses": INGRESSES,
        },
    }
    file.write_text(yaml.safe_dump(config))
    command = [sys.executable, "-c", "from hawk.cli import app; app()", "serve", "--json"]
    with (
        (folder / "stderr").open("w") as stderr,
        subprocess.Popen(
            [*command, "--config", str(file)],
            env=os.environ | {"HAWK_API_KEYS": KEY},
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        ) as process,
    ):
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, (folder / "stderr").read_text()
        yield Running(process=process, url=json.loads(line)["url"], file=file)
        process.send_signal(signal.SIGTERM)


@pytest.fixture(scope="module")
def expected(tiny: Janus) -> dict[int, str]:
    """Fingerprints by seed, as plain decoding makes them in this process."""
    pipeline = Pipeline(tiny, drafter="plain", rule="coupled", slots=8)
    pictures = pipeline(PROMPT, seed=0, n=60).pictures
    return {p.request.seed: tokens_sha256(p.tokens) for p in pictures}


def test_images_are_those_of_plain_decoding(service: Running, expected: dict[int, str]) -> None:
    three = service.post(n=3, seed=4).json()["data"]
    assert [one["hawk"]["tokens_sha256"] for one in three] == [expected[s] for s in (4, 5, 6)]
    alone = service.post(seed=4, drafter="plain").json()["data"][0]
    assert alone["b64_json"] == three[0]["b64_json"]


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


def test_metrics_are_of_all_ingresses_whichever_is_asked(service: Running) -> None:
    def answered() -> float:
        return sum(service.metric("hawk_http_requests_total", 'path="/v1/images/generations"'))

    before = answered()
    assert {response.status_code for _, response in crowd(service, list(range(10)))} == {200}
    assert [answered() - before for _ in range(10)] == [10] * 10
    assert len(service.metric("hawk_http_in_flight")) == INGRESSES


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


def test_a_new_version_takes_no_request_with_it(
    service: Running, expected: dict[int, str], tmp_path: Path
) -> None:
    config = yaml.safe_load(service.file.read_text())
    config["model"]["served_as"] = "tiny, again"
    file = tmp_path / "serve.yaml"
    file.write_text(yaml.safe_dump(config))
    command = [sys.executable, "-c", DEPLOY, service.ray_address(), str(file)]
    answers = []
    with subprocess.Popen(command, env=os.environ | {"HAWK_API_KEYS": KEY}) as deploying:
        while deploying.poll() is None:
            answers += crowd(service, list(range(6)))
    assert deploying.returncode == 0
    for _ in range(2 * INGRESSES):
        assert [model.id for model in sdk(service.url, KEY).models.list()] == ["tiny, again"]
    answers += crowd(service, list(range(6)))
    assert {response.status_code for _, response in answers} == {200}
    assert all(fingerprint(response) == expected[seed] for seed, response in answers)


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
