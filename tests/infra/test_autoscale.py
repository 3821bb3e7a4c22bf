"""Clusters that grow and shrink: Ray's own autoscaler, nodes that are processes, one head for all.

Shorter forms of the scenarios of `python -m benchmarks.autoscale`.
"""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray

from benchmarks.autoscale import endpoint, jobs
from benchmarks.autoscale.__main__ import TYPES
from benchmarks.autoscale.cluster import FakeCluster
from benchmarks.autoscale.plot import draw
from benchmarks.autoscale.record import Record

pytestmark = [pytest.mark.ray, pytest.mark.slow]

IDLE_S = 5.0


@pytest.fixture(scope="module")
def cluster() -> Iterator[FakeCluster]:
    with FakeCluster(TYPES, idle_s=IDLE_S) as made:
        ray.init(address=made.address, log_to_driver=False, logging_level=logging.ERROR)
        yield made
        ray.shutdown()


def work(model: Path, folder: Path, images: int) -> jobs.Work:
    """Slow enough that nodes have the time to come."""
    prompts = folder / "prompts.txt"
    prompts.write_text("\n".join(f"a red apple, {number}" for number in range(images)))
    return jobs.Work(
        model=str(model), prompts=prompts, out=folder / "out", drafter="plain", slots=1
    )


def check_whole(found: dict[str, Any], images: int) -> None:
    assert found["success"]
    assert found["images"] == found["rows"] == images


def test_a_job_grows_from_nothing_and_survives_the_loss_of_a_node(
    cluster: FakeCluster, tiny_folder: Path, tmp_path: Path
) -> None:
    with Record(cluster.address) as record:
        found = jobs.lose(cluster, record, work(tiny_folder, tmp_path, 120))
    check_whole(found, 120)
    turns = found["nodes_in_turn"]
    assert turns[0] == turns[-1] == 0  # they come with the job, and leave after it
    assert any("a worker was lost" in line for line in found["said"])
    lost = turns.index(2) + 1
    assert turns[lost] < 2  # the node that was killed
    assert 2 in turns[lost:]  # and the one in its place
    draw({"a panel": record}, tmp_path / "plot.svg")
    assert "images/s" in (tmp_path / "plot.svg").read_text()


def test_a_job_that_asks_too_much_says_so_and_goes_on(
    cluster: FakeCluster, tiny_folder: Path, tmp_path: Path
) -> None:
    with Record(cluster.address) as record:
        found = jobs.exceed(cluster, record, work(tiny_folder, tmp_path, 40))
    check_whole(found, 40)
    assert found["most_nodes"] == 2
    assert "the cluster grows to 2 of 4 workers: the job goes on with these" in found["said"]


def test_load_brings_replicas_and_nodes_and_quiet_sends_them_away(
    cluster: FakeCluster, tiny_folder: Path
) -> None:
    with Record(cluster.address) as record:
        found = endpoint.swell(record, str(tiny_folder))
    assert (found["nodes_under_load"], found["nodes_when_quiet"]) == (2, 1)
    assert record.nodes() == 0
