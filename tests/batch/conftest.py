"""What tests of jobs share: a Ray for all of a file, and an S3."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import ray

from tests.batch.flaky_s3 import FlakyS3
from tests.batch.places import Place, place_on, s3_server
from tests.batch.runs import CPUS, S3_ENVIRONMENT


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Of a cluster on this machine, in whose workers accidents happen on demand."""
    ray.init(
        address="local",
        num_cpus=CPUS,
        include_dashboard=False,
        object_store_memory=200_000_000,
        log_to_driver=False,
        logging_level=40,
        runtime_env={
            "worker_process_setup_hook": "tests.batch.accidents.install",
            "env_vars": S3_ENVIRONMENT,
        },
    )
    yield ray.get_runtime_context().gcs_address
    ray.shutdown()


@pytest.fixture(scope="module")
def s3_of_module() -> Iterator[FlakyS3]:
    """An S3 for all tests of a file."""
    with s3_server() as server:
        yield server


@pytest.fixture(params=["disk", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path, s3_of_module: FlakyS3) -> Place:
    """A folder on disk, then one on S3."""
    return place_on(request.param, tmp_path, s3_of_module)
