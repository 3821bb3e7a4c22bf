"""`hawk batch`, `submit` and `inspect` without a cluster: usage, messages, what is sent."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ray.job_submission import JobStatus
from typer.testing import CliRunner

import hawk.cli.batch
from hawk.batch import submission
from hawk.batch.inspection import manifest_of
from hawk.batch.manifest import Manifest
from hawk.batch.shard import FOOTER, ShardWriter
from hawk.cli.app import app
from hawk.storage.folder import Folder
from hawk.storage.layout import MANIFEST, SIDE, SUCCESS
from tests.batch.places import Place
from tests.batch.test_files import PROVENANCE, counts, row

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
    ours = Manifest(
        settings={},
        inputs="abc",
        rows=8,
        rows_per_file=3,
        provenance=PROVENANCE,
    )
    folder.create(MANIFEST, ours.to_json())
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


@pytest.mark.parametrize("options", [[], ["--overwrite"]])
@pytest.mark.parametrize("name", ["mine.parquet", "part-00000.parquet"])
def test_a_folder_with_files_of_something_else_is_left_alone(
    prompts: Path, tmp_path: Path, name: str, options: list[str]
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / name).write_bytes(b"mine")
    said = hawk_command("batch", prompts, out, *options, code=2)
    assert f"holds {name}, which is not of this job" in said
    assert [path.name for path in out.iterdir()] == [name]
    assert (out / name).read_bytes() == b"mine"


def test_prompts_are_never_overwritten(tmp_path: Path) -> None:
    """A column `prompt` in a file that is called like one of ours."""
    data = tmp_path / "data"
    data.mkdir()
    pq.write_table(pa.table({"prompt": ["a cup"]}), data / "part-00000.parquet")
    before = (data / "part-00000.parquet").read_bytes()
    for out in (data, f"{data}/", data / "images"):
        assert "give a" in hawk_command("batch", data, out, "--overwrite", code=2)
    assert [path.name for path in data.iterdir()] == ["part-00000.parquet"]
    assert (data / "part-00000.parquet").read_bytes() == before


@pytest.mark.parametrize("place", [("", "out"), ("prompts.txt", ""), ("prompts.txt", " ")])
def test_empty_paths_are_refused(
    prompts: Path, monkeypatch: pytest.MonkeyPatch, place: tuple[str, str]
) -> None:
    monkeypatch.chdir(prompts.parent)
    assert "a path is empty" in hawk_command("batch", *place, code=2)
    assert [path.name for path in prompts.parent.iterdir()] == [prompts.name]


def test_a_wrong_column_is_said_before_anything_is_made(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text('{"title": "a"}\n' * 10)
    said = hawk_command("batch", file, tmp_path / "out", "--model", "no-such-model", code=2)
    assert "no column with prompts: it has 'title'" in said


def test_without_ray_it_says_how_to_install_it(
    prompts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hawk.cli.batch, "find_spec", lambda _: None)
    output = hawk_command("batch", prompts, tmp_path / "out", code=2)
    assert "pip install 'hawk-t2i[ray]'" in output


def test_inspect_counts_what_is_there(run_folder: Path) -> None:
    report = json.loads(hawk_command("inspect", run_folder, "--json"))
    expected = {
        "rows": 8, "rows_done": 5, "images": 4, "failed": 1, "errors": {"InvalidRow": 1},
        "files": 3, "files_done": 2, "success": False, "damaged": {}, "tokens_per_forward": 2.0,
    }  # fmt: skip
    assert {name: report[name] for name in expected} == expected
    assert "InvalidRow" in hawk_command("inspect", run_folder)
    assert "is no run folder" in hawk_command("inspect", run_folder.parent, code=2)


def test_success_is_gone_with_a_file(run_folder: Path, tmp_path: Path) -> None:
    folder = Folder(str(run_folder))
    folder.write(SUCCESS, b"{}")
    assert json.loads(hawk_command("inspect", run_folder, "--json"))["success"] is False


@pytest.mark.parametrize("offset", [30, -100, -1])
def test_inspect_verifies_every_byte(run_folder: Path, offset: int) -> None:
    assert "success" in hawk_command("inspect", run_folder, "--verify")
    file = run_folder / "part-00002.parquet"
    data = bytearray(file.read_bytes())
    data[offset] ^= 0xFF
    file.write_bytes(data)
    report = json.loads(hawk_command("inspect", run_folder, "--verify", "--json", code=1))
    assert list(report["damaged"]) == ["part-00002.parquet"]
    assert (report["rows_done"], report["files_done"], report["success"]) == (3, 1, False)


def test_a_damaged_file_does_not_hide_rows_of_others(run_folder: Path) -> None:
    (run_folder / "part-00000.parquet").write_bytes(b"broken")
    assert "row-20" in hawk_command("inspect", run_folder, "--id", "row-20")
    said = hawk_command("inspect", run_folder, "--id", "row-0", code=2)
    assert "no row 'row-0' in the files" in said
    assert "part-00000.parquet cannot" in said


def test_run_folders_of_the_first_kind_are_read(run_folder: Path) -> None:
    """All files side by side, and neither device nor checksums."""
    manifest = json.loads((run_folder / MANIFEST).read_text())
    for name in ("job", "format"):
        del manifest[name]
    for name in ("device", "dtype"):
        del manifest["provenance"][name]
    ours = replace(manifest_of(Folder(str(run_folder))), format=1)
    shutil.rmtree(run_folder / SIDE)
    (run_folder / "manifest.json").write_text(json.dumps(manifest))
    for name in ("part-00000.parquet", "part-00002.parquet"):
        table = pq.read_table(run_folder / name).drop_columns(["item", "copy"])
        footer = json.loads(pq.read_metadata(run_folder / name).metadata[FOOTER])
        with pq.ParquetWriter(run_folder / name, table.schema) as writer:
            writer.write_table(table)
            writer.add_key_value_metadata({FOOTER: json.dumps(footer | {"job": ours.job})})
    report = json.loads(hawk_command("inspect", run_folder, "--verify", "--json"))
    assert (report["rows_done"], report["files_done"], report["damaged"]) == (5, 2, {})
    assert "row-20" in hawk_command("inspect", run_folder, "--id", "row-20")


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
    there = f"prompts/prompts.txt {tmp_path / 'out'}"
    assert first["command"] == f"python -m hawk batch {there} --workers 2"
    sent = set(cluster.uploads[0])
    assert {"prompts/prompts.txt", "hawk/__main__.py", "hawk/cli/app.py"} <= sent
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
        "prompts/prompts.txt s3://b/out"
    )


def test_names_of_prompt_files_travel_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They may be ids, and say how a file is packed."""
    cluster = FakeCluster()
    monkeypatch.setattr(submission, "client", lambda _: cluster)
    place = Place(url=str(tmp_path / "in"), endpoint=None)
    for name in ("cup1.txt", "deep/bowl.txt", "more.csv.gz", "_hidden.txt"):
        place.put(name)
    command = hawk_command("submit", place.url, "s3://b/out", "--json")
    assert json.loads(command)["command"].endswith("prompts s3://b/out")
    sent = {name for name in cluster.uploads[0] if name.startswith("prompts/")}
    assert sent == {
        "prompts/cup1.txt",
        "prompts/deep",
        "prompts/deep/bowl.txt",
        "prompts/more.csv.gz",
    }


def test_an_output_within_the_prompts_is_not_submitted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submission, "client", lambda _: FakeCluster())
    (tmp_path / "a.txt").write_text("a cup")
    assert "lies in" in hawk_command("submit", tmp_path, tmp_path / "out", code=2)


def test_a_wrong_option_is_found_before_anything_is_sent(prompts: Path) -> None:
    assert "No such option" in hawk_command("submit", prompts, "out", "--worker", "2", code=2)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--workers", "0"], "1 <= MIN <= MAX, got 0"),
        (["--slots", "0"], "slots must be 1 or more"),
        (["--placement", "pair:lanes=0"], "lanes must be 1 or more"),
        (["--size", "large"], "size"),
        (["--top-p", "7"], "top_p must be in (0, 1], got 7"),
        (["--rows-per-file", "0"], "rows per file must be 1 or more"),
        (["--model", "here"], "--model here is a folder of this machine"),
        (["--model", "./there"], "--model ./there is a folder of this machine"),
        (["--drafter", "../mine"], "--drafter ../mine is a folder of this machine"),
    ],
)
def test_what_cannot_run_there_is_not_sent(
    prompts: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
    complaint: str,
) -> None:
    cluster = FakeCluster()
    monkeypatch.setattr(submission, "client", lambda _: cluster)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()
    assert complaint in hawk_command("submit", prompts, "out", *options, code=2)
    assert cluster.uploads == []


@pytest.mark.parametrize("address", ["127.0.0.1:9", "http://127.0.0.1:9", "nobody"])
def test_a_dashboard_that_is_not_there_is_said_at_once(address: str) -> None:
    output = hawk_command("jobs", "list", "--address", address, code=1)
    assert "no Ray cluster answers at" in output
    assert "give its dashboard" in output


@pytest.mark.parametrize(("status", "code"), [("SUCCEEDED", 0), ("FAILED", 1), ("STOPPED", 1)])
def test_logs_that_are_followed_end_as_the_job_does(
    monkeypatch: pytest.MonkeyPatch, status: str, code: int
) -> None:
    cluster = SimpleNamespace(
        get_job_status=lambda _: JobStatus(status), get_job_logs=lambda _: "all it said\n"
    )
    monkeypatch.setattr(submission, "client", lambda _: cluster)
    output = hawk_command("jobs", "logs", "hawk-1", "--follow", code=code)
    assert output.startswith("all it said\n")
    assert (f"hawk-1 has ended: {status.lower()}" in output) == (code == 1)
    assert "has ended" not in hawk_command("jobs", "logs", "hawk-1")


def test_more_than_ray_takes_is_refused(
    prompts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submission, "client", lambda _: FakeCluster())
    monkeypatch.setattr(submission, "UPLOAD_LIMIT_BYTES", 1000)
    assert "put the prompts on S3" in hawk_command("submit", prompts, tmp_path / "out", code=2)


def test_a_run_itself_never_loads_torch() -> None:
    """Its workers do: so mistakes are told at once, and the driver stays small."""
    code = (
        "import sys, hawk.cli, hawk.batch.run, hawk.batch.worker_pool, hawk.batch.submission\n"
        "print([name for name in ('torch', 'transformers') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
