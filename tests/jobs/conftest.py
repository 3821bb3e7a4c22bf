"""The Ray that all tests of jobs share: starting one takes as long as many of them."""

from collections.abc import Iterator

import pytest
import ray

from tests.jobs.runs import CPUS, S3_ENVIRONMENT


@pytest.fixture(scope="session")
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
            "worker_process_setup_hook": "tests.jobs.accidents.install",
            "env_vars": S3_ENVIRONMENT,
        },
    )
    yield ray.get_runtime_context().gcs_address
    ray.shutdown()
