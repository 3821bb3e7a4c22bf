"""The pool of a run: what becomes of rows and of the run when workers die, or do not come up."""

from pathlib import Path
from typing import Any

import pytest
import ray

from hawk.batch.job import Job
from hawk.batch.job_settings import JobSettings, WorkerSettings
from hawk.settings import ModelSettings
from tests.batch.runs import (
    CPUS,
    WORKER_CPUS,
    assert_made_by_the_model_alone,
    job,
    read,
    run_here,
    write_prompts,
)

pytestmark = pytest.mark.ray


def test_a_poison_row_becomes_an_error_and_the_rest_goes_on(
    address: str, tiny_folder: Path, tmp_path: Path
) -> None:
    prompts = ["one", "two", "poison", "four", "five", "six"]
    file, out = write_prompts(tmp_path / "p.txt", prompts), tmp_path / "out"
    summary, screen = run_here(job(tiny_folder, file, out, rows_per_file=3))
    rows = read(out)
    assert [row["error_type"] for row in rows] == [None, None, "WorkerLost", None, None, None]
    assert "took 3 workers with it: ActorDiedError" in rows[2]["error"]
    assert summary["errors"] == {"WorkerLost": 1}
    # Rarely one more: lost before it had told that the row is in flight.
    assert screen.count("a worker was lost") >= 3
    assert_made_by_the_model_alone(rows[:2] + rows[3:], tiny_folder)


def test_a_busy_cluster_is_waited_for_and_given_up_with_reasons(
    address: str, tiny_folder: Path, tmp_path: Path
) -> None:
    process: Any = ray.remote(_Hog)
    hogs = [process.options(num_cpus=1).remote() for _ in range(CPUS)]
    ray.get([hog.ready.remote() for hog in hogs])
    file = write_prompts(tmp_path / "p.txt", ["one"])
    impatient = WorkerSettings(cpus_per_worker=WORKER_CPUS, start_timeout=1.0)
    model = ModelSettings(model=str(tiny_folder))
    asked = Job(
        prompts=str(file),
        out=str(tmp_path / "out"),
        settings=JobSettings(model=model, workers=impatient),
    )
    with pytest.raises(RuntimeError, match=r"a worker takes 0\.5 CPU .* has 2 CPU, 0 free"):
        run_here(asked)
    for hog in hogs:
        ray.kill(hog)


class _Hog:
    def ready(self) -> None:
        """Say that the place is taken."""


def test_errors_of_the_model_come_before_anything_is_written(
    address: str, tiny_folder: Path, tmp_path: Path
) -> None:
    file = write_prompts(tmp_path / "p.txt", ["one"])
    with pytest.raises(ValueError, match="no model"):
        run_here(job(tmp_path / "nowhere", file, tmp_path / "out"))
    assert list((tmp_path / "out").iterdir()) == []
