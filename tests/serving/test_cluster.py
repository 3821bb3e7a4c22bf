"""The application as a cluster runs it: ingresses behind Serve's proxy. One start for all tests."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.serving.conftest import sdk
from tests.serving.running import KEY, PROMPT, Running, crowd, fingerprint, running, settings

pytestmark = [pytest.mark.ray, pytest.mark.slow]

INGRESSES = 2
# What `serve deploy` does with the file in docs/serve.md.
START = """
import contextlib, json, os, pathlib, signal, sys, threading
from hawk.serving import config, local_service
read = config.read_config(pathlib.Path(sys.argv[1]))
# Where the model has all cores busy; Serve would kill its proxy after 5 and 10 seconds.
os.environ["RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S"] = "60"
os.environ["RAY_SERVE_PROXY_HEALTH_CHECK_TIMEOUT_S"] = "60"
stdout = sys.stdout
with contextlib.redirect_stdout(sys.stderr), local_service.ray_of(read):
    from ray import serve
    from hawk.serving.app import build_app
    http = {"host": "127.0.0.1", "port": read.http.port}
    serve.start(http_options=http, logging_config=local_service.QUIET)
    serve.run(build_app(read), name=local_service.APP, logging_config=local_service.QUIET)
    print(json.dumps({"url": f"http://127.0.0.1:{read.http.port}"}), file=stdout, flush=True)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        local_service.end()
"""
DEPLOY = """
import pathlib, ray, sys
from hawk.serving import config, local_service
ray.init(address=sys.argv[1], log_to_driver=False, logging_level="ERROR")
from ray import serve
from hawk.serving.app import build_app
serve.run(build_app(config.read_config(pathlib.Path(sys.argv[2]))), name=local_service.APP)
"""


@pytest.fixture(scope="module")
def service(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    config = settings(tiny_folder, slots=2, waiting=10, replicas={"ingresses": INGRESSES})
    with running(["-c", START], config, tmp_path_factory.mktemp("cluster")) as service:
        yield service


def test_images_are_those_of_plain_decoding(service: Running, expected: dict[int, str]) -> None:
    three = service.post(n=3, seed=4).json()["data"]
    assert [one["hawk"]["tokens_sha256"] for one in three] == [expected[s] for s in (4, 5, 6)]


def test_the_openai_client_streams(service: Running, expected: dict[int, str]) -> None:
    events = sdk(service.url, KEY).images.generate(
        prompt=PROMPT, stream=True, partial_images=2, extra_body={"seed": 4}
    )
    *parts, last = list(events)
    assert 1 <= len(parts) <= 2
    assert last.type == "image_generation.completed"
    assert last.model_extra is not None
    assert last.model_extra["hawk"]["tokens_sha256"] == expected[4]


def test_metrics_are_of_all_ingresses_whichever_is_asked(service: Running) -> None:
    def answered() -> float:
        return sum(service.metric("hawk_http_requests_total", 'path="/v1/images/generations"'))

    before = answered()
    assert {response.status_code for _, response in crowd(service, list(range(10)))} == {200}
    assert [answered() - before for _ in range(10)] == [10] * 10
    assert len(service.metric("hawk_http_in_flight")) == INGRESSES


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
