"""Loss of a machine in the middle of a run, on a cluster of its own in a process of its own."""

import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from ray.cluster_utils import Cluster

from hawk.batch.job import Job
from hawk.batch.job_settings import WorkerSettings
from hawk.storage.layout import SUCCESS
from tests.batch.runs import (
    DEADLINE_S,
    assert_made_by_the_model_alone,
    job,
    read,
    run_here,
    start,
    write_prompts,
)

pytestmark = pytest.mark.ray
HEAD = {
    "num_cpus": 0,
    "include_dashboard": False,
    "_system_config": {"health_check_period_ms": 500, "health_check_failure_threshold": 4},
}


def test_a_machine_that_is_lost_takes_no_row_with_it(tiny_folder: Path, tmp_path: Path) -> None:
    prompts = [f"a red apple {number}" for number in range(120)]
    file, out = write_prompts(tmp_path / "p.txt", prompts), tmp_path / "out"
    process = start(_lose_a_machine, job(tiny_folder, file, out, rows_per_file=5))
    process.join(DEADLINE_S)
    assert process.exitcode == 0
    assert [row["prompt"] for row in read(out)] == prompts
    assert_made_by_the_model_alone(read(out), tiny_folder)
    assert (out / SUCCESS).exists()
    assert not list(out.glob(".*"))


def _lose_a_machine(asked: Job) -> None:
    """A head that takes no work and two machines with a worker each, of which one goes."""
    cluster = Cluster(initialize_head=True, head_node_args=HEAD)
    try:
        doomed, _ = cluster.add_node(num_cpus=1), cluster.add_node(num_cpus=1)
        out = Path(asked.out)

        def lose() -> None:
            while len(list(out.glob("*.parquet"))) < 3:
                time.sleep(0.02)
            cluster.remove_node(doomed, allow_graceful=False)

        threading.Thread(target=lose, daemon=True).start()
        workers = WorkerSettings(workers="2", start_timeout=DEADLINE_S)
        settings = replace(asked.settings, workers=workers)
        _, screen = run_here(replace(asked, settings=settings, address=cluster.address))
        assert doomed not in cluster.worker_nodes, "the run was over before the machine was lost"
        assert "a worker was lost, its" in screen
    finally:
        cluster.shutdown()
