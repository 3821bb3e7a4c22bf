"""A service over the tiny model: real HTTP on loopback, the replica in this process, no cluster."""

import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import openai
import pytest
import uvicorn

from hawk import Pipeline
from hawk.images.gallery import tokens_sha256
from hawk.serving.config import ServeConfig, check_config
from hawk.serving.events import Backend
from hawk.serving.http_server import settings
from hawk.serving.ingress import build_api
from hawk.serving.keys import Keys
from hawk.serving.replica import Replica
from hawk.serving.service import Service
from hawk.targets.janus import Janus
from tests.serving.running import PROMPT

START_S = 60


def tiny_config(folder: Path, **sections: object) -> ServeConfig:
    model = {"name": str(folder), "served_as": "tiny", "drafters": ["jacobi", "plain"], "slots": 4}
    return check_config({"model": model, "keys": "open"} | sections, "test")


@pytest.fixture(scope="session")
def replica(tiny_folder: Path) -> Replica:
    return Replica(tiny_config(tiny_folder))


@pytest.fixture(scope="session")
def expected(tiny: Janus) -> dict[int, str]:
    """Fingerprints by seed, as plain decoding makes them in this process."""
    pipeline = Pipeline(tiny, drafter="plain", rule="coupled", slots=8)
    pictures = pipeline(PROMPT, seed=0, n=60).pictures
    return {p.request.seed: tokens_sha256(p.tokens) for p in pictures}


@contextmanager
def listening(service: Service) -> Generator[str, None, None]:
    """The service on a free port; yields its address."""
    server = uvicorn.Server(settings(build_api(service), port=0, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    give_up = time.monotonic() + START_S
    while not server.started:
        assert time.monotonic() < give_up, "uvicorn did not start"
        time.sleep(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join()


@pytest.fixture(scope="session")
def url(replica: Replica, tiny_folder: Path) -> Iterator[str]:
    with listening(Service(replica, tiny_config(tiny_folder), Keys(""))) as address:
        yield address


Listen = Callable[..., str]


@pytest.fixture
def listen(replica: Replica, tiny_folder: Path) -> Iterator[Listen]:
    """Starts services of other settings, keys or backends; they end with the test."""
    with ExitStack() as stack:

        def start(backend: Backend | None = None, keys: str = "", **sections: object) -> str:
            config = tiny_config(tiny_folder, **sections)
            return stack.enter_context(listening(Service(backend or replica, config, Keys(keys))))

        yield start


def sdk(url: str, key: str = "none") -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0, timeout=120)
