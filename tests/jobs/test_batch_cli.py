"""`hawk batch`, `submit` and `inspect` without a cluster: usage, messages, what is sent."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray.job_submission import JobStatus
from typer.testing import CliRunner

import hawk.batch_cli
from hawk.cli import app
from jobs.batch import submission
from jobs.batch.manifest import Manifest
from jobs.batch.settings import Making
from jobs.batch.shard import ShardWriter
from jobs.batch.storage import Folder
from tests.jobs.test_batch_files import PROVENANCE, counts, row

runner = CliRunner()


def hawk_command(*arguments: object, code: int = 0) -> str:
    result = runner.invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result.output


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    path = tmp_path / "prompts.txt"
    path.write_text("one\ntwo\n")
    return path


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    """Two files of three, five rows of which one failed."""
    folder = Folder(str(tmp_path / "out"))
    folder.prepare()
    ours = Manifest(making=Making(), inputs="abc", rows=8, rows_per_file=3, provenance=PROVENANCE)
    folder.create("manifest.json", ours.to_json())
    for shard, rows in ((0, 3), (2, 2)):
        writer = ShardWriter(folder, f"part-0000{shard}.parquet", rows=rows, job=ours.job)
        for place in range(rows):
            failed = (shard, place) == (0, 1)
            stored = row(10 * shard + place, failed=failed) | {"seconds": 1.0 + place}
            writer.add(place, stored, counts(failed=failed))
    return tmp_path / "out"


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--workers", "none"], "workers must be N or MIN:MAX, got 'none'"),
        (["--workers", "3:2"], "1 <= MIN <= MAX, got 3:2"),
        (["--size", "large"], "size"),
        (["--guidance", "1e39"], "guidance must be between 1 (none) and 100, got 1e+39"),
        (["--temperature", "1e39"], "temperature must be 0, or between 0.001 and 100"),
        (["--slots", "0"], "slots must be 1 or more"),
        (["--rows-per-file", "0"], "rows per file must be 1 or more"),
        (["--gpus-per-worker", "-1"], "must be 0 or more"),
    ],
)
def test_bad_settings_get_one_sentence(
    prompts: Path, tmp_path: Path, options: list[str], complaint: str
) -> None:
    output = hawk_command("batch", prompts, tmp_path / "out", *options, code=2)
    assert complaint in output
    assert not (tmp_path / "out").exists()


def test_a_folder_with_files_of_something_else_is_left_alone(prompts: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.parquet").write_bytes(b"mine")
    assert "holds mine.parquet and no manifest.json" in hawk_command(
        "batch", prompts, tmp_path, code=2
    )
    assert (tmp_path / "mine.parquet").read_bytes() == b"mine"


def test_without_ray_it_says_how_to_install_it(
    prompts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hawk.batch_cli, "find_spec", lambda _: None)
    output = hawk_command("batch", prompts, tmp_path / "out", code=2)
    assert "pip install 'hawk-t2i[ray]'" in output


def test_inspect_counts_what_is_there(run_folder: Path) -> None:
    report = json.loads(hawk_command("inspect", run_folder, "--json"))
    expected = {
        "rows": 8, "rows_done": 5, "images": 4, "failed": 1, "errors": {"InvalidRow": 1},
        "files": 3, "files_done": 2, "success": False, "tokens_per_forward": 2.0,
    }  # fmt: skip
    assert {name: report[name] for name in expected} == expected
    assert "InvalidRow" in hawk_command("inspect", run_folder)
    assert "is no run folder" in hawk_command("inspect", run_folder.parent, code=2)


def test_inspect_opens_a_row_by_its_id(run_folder: Path, tmp_path: Path) -> None:
    png = tmp_path / "a.png"
    report = json.loads(
        hawk_command("inspect", run_folder, "--id", "row-20", "--png", png, "--json")
    )
    assert report["seed"] == 20
    assert png.read_bytes() == row(20)["image"]["bytes"]
    assert "no row 'row-9'" in hawk_command("inspect", run_folder, "--id", "row-9", code=2)
    failed = hawk_command("inspect", run_folder, "--id", "row-1", "--png", png, code=2)
    assert "has no picture: bad" in failed


class FakeCluster:
    """As much of `JobSubmissionClient` as a submission needs."""

    def __init__(self) -> None:
        self.jobs: dict[str, Any] = {}
        self.uploads: list[list[str]] = []

    def list_jobs(self) -> list[Any]:
        return list(self.jobs.values())

    def get_job_info(self, name: str) -> Any:
        return self.jobs[name]

    def delete_job(self, name: str) -> None:
        del self.jobs[name]

    def submit_job(self, *, entrypoint: str, submission_id: str, runtime_env: Any) -> None:
        assert submission_id not in self.jobs
        folder = Path(runtime_env["working_dir"])
        self.uploads.append([str(path.relative_to(folder)) for path in folder.rglob("*")])
        self.jobs[submission_id] = SimpleNamespace(
            submission_id=submission_id,
            status=JobStatus.RUNNING,
            entrypoint=entrypoint,
            message=None,
        )


def test_the_same_job_twice_runs_once(
    prompts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = FakeCluster()
    monkeypatch.setattr(submission, "client", lambda _: cluster)
    monkeypatch.chdir(tmp_path)
    command = ("submit", "prompts.txt", "out", "--workers", "2", "--json")
    first = json.loads(hawk_command(*command))
    assert first["submitted"]
    assert first["command"] == f"python -m jobs.generate prompts {tmp_path / 'out'} --workers 2"
    sent = set(cluster.uploads[0])
    assert {"prompts/00000.txt", "jobs/generate.py", "hawk/cli.py"} <= sent
    assert "hawk/assets/emoji/model.safetensors" in sent
    assert not any("__pycache__" in name for name in sent)

    again = json.loads(hawk_command(*command))
    assert (again["id"], again["submitted"]) == (first["id"], False)
    cluster.jobs[first["id"]].status = JobStatus.FAILED
    assert json.loads(hawk_command(*command))["submitted"]
    prompts.write_text("others\n")
    other = json.loads(hawk_command(*command))
    assert other["id"] != first["id"]
    assert json.loads(hawk_command("submit", prompts, "s3://b/out", "--json"))["command"].endswith(
        "prompts s3://b/out"
    )


def test_a_wrong_option_is_found_before_anything_is_sent(prompts: Path) -> None:
    assert "No such option" in hawk_command("submit", prompts, "out", "--worker", "2", code=2)


def test_more_than_ray_takes_is_refused(
    prompts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submission, "client", lambda _: FakeCluster())
    monkeypatch.setattr(submission, "UPLOAD_LIMIT_BYTES", 1000)
    assert "put the prompts on S3" in hawk_command("submit", prompts, tmp_path / "out", code=2)


def test_a_run_itself_never_loads_torch() -> None:
    """Its workers do: so mistakes are told at once, and the driver stays small."""
    code = (
        "import sys, hawk.cli, jobs.batch.run, jobs.batch.pool, jobs.batch.submission\n"
        "print([name for name in ('torch', 'transformers') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
