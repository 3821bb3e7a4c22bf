"""Whole runs on a local Ray: whatever dies on the way, the folder ends up right.

One cluster for all. Drivers that have to die run in processes of their own, forked from one that
has everything imported.
"""

import io
import json
import multiprocessing
import os
import random
import signal
import time
from collections.abc import Iterator, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import boto3
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray
import ray.data
from PIL import Image
from rich.console import Console

import hawk
import jobs
from hawk.gallery import tokens_sha256
from jobs.batch.progress import Meter
from jobs.batch.run import Job, run
from jobs.batch.settings import Making, Workers
from jobs.batch.shard import shard_name
from jobs.batch.storage import Folder
from tests.jobs.flaky_s3 import FlakyS3

pytestmark = pytest.mark.ray
CPUS = 2
WORKER_CPUS = 0.5
KILLS = 5
DEADLINE_S = 300.0
S3_ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_REGION": "us-east-1",
}


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
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


def job(model: Path, prompts: Path, out: Path, *, workers: int = 1, **options: Any) -> Job:
    return Job(
        prompts=str(prompts),
        out=str(out),
        making=Making(model=str(model), dtype="float32"),
        workers=Workers(least=1, most=workers, cpus=WORKER_CPUS, slots=4, start_s=DEADLINE_S),
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
    """Bytes and tokens are those of a plain pipeline that never saw a batch job."""
    pipeline = hawk.Pipeline.from_pretrained(str(model), drafter="plain", device="cpu")
    requests = [
        pipeline.requests(row["prompt"], seed=row["seed"], n=1, guidance=None, sampler=None)[0]
        for row in rows
    ]
    for row, picture in zip(rows, pipeline.run(requests).pictures, strict=True):
        png = io.BytesIO()
        picture.image.save(png, "PNG")
        assert row["image"]["bytes"] == png.getvalue()
        assert row["tokens_sha256"] == tokens_sha256(picture.tokens)


def start(target: Any, *arguments: Any) -> BaseProcess:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["hawk.cli", "jobs.batch.run", __name__])
    process = context.Process(target=target, args=arguments)
    process.start()
    return process


def wait_for(condition: Any, process: BaseProcess) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition() and process.is_alive():
        assert time.monotonic() < deadline, "nothing happens"
        time.sleep(0.02)


def test_killed_drivers_and_workers_change_nothing(
    address: str,
    tiny_folder: Path,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """300 rows: five drivers die at random moments, then two workers finish, one of which dies."""
    memory = tmp_path_factory.mktemp("m") / "m"  # a short name: it has to fit into a prompt
    prompts = [f"a red apple {number}" for number in range(299)] + [f"once {memory}"]
    file, out = write_prompts(tmp_path / "p.txt", prompts), tmp_path / "out"
    moments = random.Random(0)
    there = 0
    for _ in range(KILLS):
        process = start(
            run_elsewhere, job(tiny_folder, file, out, rows_per_file=15, address=address)
        )
        more = there + moments.randint(0, 3)
        wait_for(lambda more=more: len(list(out.glob("*.parquet"))) >= more, process)
        time.sleep(moments.random() * 0.5)
        assert process.pid
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        there = len(list(out.glob("*.parquet")))
        assert not (out / "_SUCCESS").exists()
    files = sorted(out.glob("*.parquet"))
    assert 0 < len(files) < 20
    files[0].write_bytes(files[0].read_bytes()[:-100])
    untouched = {path: path.stat().st_mtime_ns for path in files[1:]}

    summary, screen = run_here(job(tiny_folder, file, out, workers=2))
    assert "a worker was lost" in screen
    assert {path: path.stat().st_mtime_ns for path in files[1:]} == untouched
    rows = read(out)
    assert [row["prompt"] for row in rows] == prompts
    assert len({row["id"] for row in rows}) == summary["images"] == summary["rows"] == 300
    assert_made_by_the_model_alone(rows, tiny_folder)
    assert sorted(path.name for path in out.iterdir()) == [
        "_SUCCESS", "contact-sheet.png", "manifest.json", *map(shard_name, range(20)),
    ]  # fmt: skip
    with Image.open(out / "contact-sheet.png") as sheet:
        assert sheet.width > 1000
    assert json.loads((out / "_SUCCESS").read_text())["rows"] == 300

    again, _ = run_here(job(tiny_folder, file, out))
    assert again["images"] == 300
    assert again["seconds"] == 0
    (out / shard_name(3)).unlink()
    with pytest.raises(ValueError, match="rows per file were 15, are 7"):
        run_here(job(tiny_folder, file, out, rows_per_file=7))


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
    assert screen.count("a worker was lost") == 3
    assert_made_by_the_model_alone(rows[:2] + rows[3:], tiny_folder)


def test_a_busy_cluster_is_waited_for_and_given_up_with_reasons(
    address: str, tiny_folder: Path, tmp_path: Path
) -> None:
    process: Any = ray.remote(_Hog)
    hogs = [process.options(num_cpus=1).remote() for _ in range(CPUS)]
    ray.get([hog.ready.remote() for hog in hogs])
    file = write_prompts(tmp_path / "p.txt", ["one"])
    impatient = Workers(cpus=WORKER_CPUS, start_s=1.0)
    asked = Job(
        prompts=str(file),
        out=str(tmp_path / "out"),
        making=Making(model=str(tiny_folder)),
        workers=impatient,
    )
    with pytest.raises(RuntimeError, match=r"a worker takes 0\.5 CPU .* has 2 CPU, 0 free"):
        run_here(asked)
    for hog in hogs:
        ray.kill(hog)


class _Hog:
    def ready(self) -> None:
        """Say that the place is taken."""


@pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.data")  # it deprecates its own settings
def test_a_processor_adds_images_to_a_data_set(address: str, tiny_folder: Path) -> None:
    rows = [
        {"prompt": f"a tree {place}", "seed": place, "mine": [place], "n": 1 + place // 4}
        for place in range(5)
    ]
    config = jobs.ProcessorConfig(
        making=Making(model=str(tiny_folder), dtype="float32"),
        workers=Workers(cpus=WORKER_CPUS, slots=2),
        batch_size=3,
    )
    process = jobs.build_processor(config)
    made = sorted(process(ray.data.from_items(rows)).take_all(), key=lambda row: row["seed"])
    assert [row["prompt"] for row in made] == [row["prompt"] for row in rows]
    assert [list(row["mine"]) for row in made] == [row["mine"] for row in rows]
    assert "n must be 1 here, got 2" in made[4]["error"]
    assert made[4]["image"] is None
    assert_made_by_the_model_alone(made[:4], tiny_folder)


def test_two_runs_at_once_end_with_a_right_folder(
    address: str, tiny_folder: Path, tmp_path: Path
) -> None:
    prompts = [f"a snowman {number}" for number in range(60)]
    file, out = write_prompts(tmp_path / "p.txt", prompts), tmp_path / "out"
    other = start(run_elsewhere, job(tiny_folder, file, out, rows_per_file=10, address=address))
    run_here(job(tiny_folder, file, out, rows_per_file=10))
    other.join(DEADLINE_S)
    assert other.exitcode == 0
    assert [row["prompt"] for row in read(out)] == prompts
    assert_made_by_the_model_alone(read(out), tiny_folder)
    assert not list(out.glob(".*"))


def test_errors_of_the_model_come_before_anything_is_written(
    address: str, tiny_folder: Path, tmp_path: Path
) -> None:
    file = write_prompts(tmp_path / "p.txt", ["one"])
    with pytest.raises(ValueError, match="no model"):
        run_here(job(tmp_path / "nowhere", file, tmp_path / "out"))
    assert list((tmp_path / "out").iterdir()) == []


def test_a_run_on_s3_bears_slow_downs_and_resets(
    address: str, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in S3_ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    with FlakyS3() as server:
        client = boto3.client("s3", endpoint_url=server.url)
        client.create_bucket(Bucket="hawk")
        prompts = [{"id": f"row-{number}", "prompt": "a red apple"} for number in range(20)]
        lines = "".join(json.dumps(prompt) + "\n" for prompt in prompts)
        client.put_object(Bucket="hawk", Key="in/p.jsonl", Body=lines.encode())
        server.slow_down_every, server.reset_every = 5, 7
        asked = Job(
            prompts="s3://hawk/in",
            out="s3://hawk/runs/first",
            making=Making(model=str(tiny_folder), dtype="float32"),
            workers=Workers(cpus=WORKER_CPUS, slots=4, start_s=DEADLINE_S),
            rows_per_file=6,
            s3_endpoint=server.url,
        )
        summary, _ = run_here(asked)
        assert server.faults > 5
        assert summary["images"] == 20
        server.slow_down_every = server.reset_every = 0
        listed = client.list_objects_v2(Bucket="hawk", Prefix="runs/first/")["Contents"]
        names = [item["Key"].removeprefix("runs/first/") for item in listed]
        assert names == [
            "_SUCCESS", "contact-sheet.png", "manifest.json", *map(shard_name, range(4)),
        ]  # fmt: skip
        rows = [
            row
            for name in names[3:]
            for row in pq.read_table(
                pa.BufferReader(Folder(asked.out, endpoint=server.url).read(name))
            ).to_pylist()
        ]
        assert [row["id"] for row in rows] == [prompt["id"] for prompt in prompts]
        assert_made_by_the_model_alone(rows, tiny_folder)
        client.delete_object(Bucket="hawk", Key="runs/first/part-00002.parquet")
        assert run_here(asked)[0]["images"] == 20


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_command_and_all_it_started(
    address: str, tiny_folder: Path, tmp_path: Path, number: signal.Signals
) -> None:
    prompts = [f"a tree {row}" for row in range(200)]
    file, out = write_prompts(tmp_path / "p.txt", prompts), tmp_path / "out"
    process = start(_command, file, out, tiny_folder, address)
    wait_for(lambda: list(out.glob("*.parquet")), process)
    assert process.pid
    os.kill(process.pid, number)
    process.join(DEADLINE_S)
    assert process.exitcode == 128 + number
    assert not list(out.glob(".*"))
    assert not (out / "_SUCCESS").exists()
    deadline = time.monotonic() + DEADLINE_S
    while ray.available_resources().get("CPU") != CPUS:
        assert time.monotonic() < deadline, "its workers are still there"
        time.sleep(0.1)


def _command(file: Path, out: Path, model: Path, address: str) -> None:
    from hawk.cli import app

    options = ["--model", str(model), "--address", address, "--rows-per-file", "2"]
    app(["batch", str(file), str(out), "--cpus-per-worker", "0.5", *options])
