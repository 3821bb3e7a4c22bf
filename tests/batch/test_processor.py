"""Hawk as a stage of somebody's own Ray Data pipeline."""

from pathlib import Path

import pytest
import ray.data

from hawk.batch import ProcessorConfig, build_processor
from hawk.batch.job_settings import JobSettings, WorkerSettings
from hawk.settings import ModelSettings
from tests.batch.runs import WORKER_CPUS, assert_made_by_the_model_alone

pytestmark = pytest.mark.ray


@pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.data")  # it deprecates its own settings
def test_a_processor_adds_images_to_a_data_set(address: str, tiny_folder: Path) -> None:
    rows = [
        {"prompt": f"a tree {place}", "seed": place, "mine": [place], "n": 1 + place // 4}
        for place in range(5)
    ]
    config = ProcessorConfig(
        settings=JobSettings(
            model=ModelSettings(model=str(tiny_folder), dtype="float32", slots=2),
            workers=WorkerSettings(cpus_per_worker=WORKER_CPUS),
        ),
        batch_size=3,
    )
    process = build_processor(config)
    made = sorted(process(ray.data.from_items(rows)).take_all(), key=lambda row: row["seed"])
    assert [row["prompt"] for row in made] == [row["prompt"] for row in rows]
    assert [list(row["mine"]) for row in made] == [row["mine"] for row in rows]
    assert "n must be 1 here, got 2" in made[4]["error"]
    assert made[4]["image"] is None
    assert_made_by_the_model_alone(made[:4], tiny_folder)
