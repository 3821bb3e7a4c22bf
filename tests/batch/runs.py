"""Runs: batch jobs on a Ray that is there, in this process and in drivers that have to die."""

import io
import multiprocessing
import time
from collections.abc import Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from PIL import Image, ImageChops
from rich.console import Console

import hawk
from hawk.batch.job import Job
from hawk.batch.job_settings import JobSettings, WorkerSettings
from hawk.batch.progress import Meter
from hawk.batch.run import run
from hawk.images.gallery import tokens_sha256
from hawk.settings import ModelSettings

CPUS = 2
WORKER_CPUS = 0.5
DEADLINE_S = 300.0
S3_ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_REGION": "us-east-1",
}


def job(
    model: Path, prompts: Path | str, out: Path | str, *, workers: int = 1, **options: Any
) -> Job:
    return Job(
        prompts=str(prompts),
        out=str(out),
        settings=JobSettings(
            model=ModelSettings(model=str(model), dtype="float32", slots=4),
            workers=WorkerSettings(
                workers=f"1:{workers}", cpus_per_worker=WORKER_CPUS, start_timeout=DEADLINE_S
            ),
        ),
        **options,
    )


def run_here(job: Job) -> tuple[dict[str, Any], str]:
    """Summary, and what the user saw."""
    screen = io.StringIO()
    with Meter(Console(file=screen)) as meter:
        return run(job, meter), screen.getvalue()


def run_elsewhere(job: Job) -> None:
    """The whole of a driver that is going to be killed."""
    run_here(job)


def write_prompts(path: Path, prompts: Sequence[str]) -> Path:
    path.write_text("\n".join(prompts), encoding="utf-8")
    return path


def read(out: Path) -> list[dict[str, Any]]:
    return [
        row for path in sorted(out.glob("*.parquet")) for row in pq.read_table(path).to_pylist()
    ]


def assert_made_by_the_model_alone(rows: Sequence[dict[str, Any]], model: Path) -> None:
    """Pictures and tokens are those of a plain pipeline that never saw a batch job."""
    pipeline = hawk.Pipeline.from_pretrained(str(model), drafter="plain", device="cpu")
    requests = [
        pipeline.requests(row["prompt"], seed=row["seed"], n=1, guidance=None, sampler=None)[0]
        for row in rows
    ]
    for row, picture in zip(rows, pipeline.run(requests).pictures, strict=True):
        with Image.open(io.BytesIO(row["image"]["bytes"])) as stored:
            assert ImageChops.difference(stored, picture.image).getbbox() is None
        assert row["tokens_sha256"] == tokens_sha256(picture.tokens)


def start(target: Any, *arguments: Any) -> BaseProcess:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["hawk.cli", "hawk.batch.run", __name__])
    process = context.Process(target=target, args=arguments)
    process.start()
    return process


def wait_for(condition: Any, process: BaseProcess) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition() and process.is_alive():
        assert time.monotonic() < deadline, "nothing happens"
        time.sleep(0.02)
