"""Whole runs on a local Ray: whatever dies on the way, the folder ends up right.

Drivers that have to die run in processes of their own, forked from one that has everything
imported.
"""

import json
import os
import random
import shutil
import signal
import time
from pathlib import Path

import pytest
import ray
from PIL import Image

from hawk.storage.layout import CARD, MANIFEST, SHEET, SIDE, SUCCESS, shard_name
from tests.batch.runs import (
    CPUS,
    DEADLINE_S,
    assert_made_by_the_model_alone,
    job,
    read,
    run_elsewhere,
    run_here,
    start,
    wait_for,
    write_prompts,
)

pytestmark = pytest.mark.ray
KILLS = 3


def test_killed_drivers_and_workers_change_nothing(
    address: str,
    tiny_folder: Path,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """300 rows: drivers die at random moments, then two workers finish, one of which dies."""
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
        assert not (out / SUCCESS).exists()
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
    assert sorted(path.name for path in out.iterdir()) == [SIDE, *map(shard_name, range(20))]
    beside = sorted(str(path.relative_to(out)) for path in (out / SIDE).iterdir())
    assert beside == sorted([CARD, SUCCESS, SHEET, MANIFEST])
    with Image.open(out / SHEET) as sheet:
        assert sheet.width > 1000
    assert json.loads((out / SUCCESS).read_text())["rows"] == 300

    again, _ = run_here(job(tiny_folder, file, out))
    assert again["images"] == 300
    assert again["seconds"] == 0
    (out / shard_name(3)).unlink()
    with pytest.raises(ValueError, match="rows per file were 15, are 7"):
        run_here(job(tiny_folder, file, out, rows_per_file=7))


def test_what_is_damaged_is_named_and_made_again(
    address: str, tiny_folder: Path, tmp_path: Path
) -> None:
    """Of a finished run one file loses 64 bytes inside, and one is gone."""
    file, out = tmp_path / "p.csv", tmp_path / "out"
    file.write_text("Prompts,Category,n\na cup,x,2\na bowl,y,\na spoon,z,1.0\n")
    model = shutil.copytree(tiny_folder, tmp_path / "model")
    asked = job(model, file, out, rows_per_file=1)
    summary, screen = run_here(asked)
    assert "prompt is 'Prompts'; n is 'n'; kept: 'Category'" in screen
    assert summary["contact_sheet"] == f"{out}/{SHEET}"
    before = read(out)
    assert [(row["item"], row["copy"], row["input_Category"]) for row in before] == [
        (before[0]["item"], 0, "x"),
        (before[0]["item"], 1, "x"),
        (before[2]["id"], 0, "y"),
        (before[3]["id"], 0, "z"),
    ]
    assert "4 images and 0 rows with an error" in (out / CARD).read_text()
    data = bytearray((out / shard_name(0)).read_bytes())
    data[len(data) // 3 : len(data) // 3 + 64] = bytes(64)
    (out / shard_name(0)).write_bytes(data)
    (out / shard_name(1)).unlink()
    again, screen = run_here(asked)
    assert f"{shard_name(0)} is damaged (its checksum does not fit its bytes)" in screen
    assert again["images"] == 4
    stable = [n for n in before[0] if n not in ("seconds", "forwards", "tokens_per_forward")]
    assert [{n: row[n] for n in stable} for row in read(out)] == [
        {n: row[n] for n in stable} for row in before
    ]
    _change_weights(model)
    with pytest.raises(ValueError, match="other weights now"):
        run_here(asked)
    shutil.rmtree(model)
    assert "its weights were not compared" in run_here(asked)[1]


def _change_weights(model: Path) -> None:
    file = model / "model.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)


def test_a_summary_names_only_what_is_there(
    address: str, tiny_folder: Path, tmp_path: Path
) -> None:
    """No row has a picture, so there is no sheet of them."""
    file, out = tmp_path / "p.jsonl", tmp_path / "out"
    file.write_text('{"prompt": " ", "id": "k3", "seed": 3}\n')
    summary, _ = run_here(job(tiny_folder, file, out))
    assert summary["contact_sheet"] is None
    assert [(row["id"], row["seed"], row["error_type"]) for row in read(out)] == [
        ("k3", 3, "InvalidRow")
    ]
    assert sorted(path.name for path in (out / SIDE).iterdir()) == [
        Path(name).name for name in (CARD, SUCCESS, MANIFEST)
    ]
    assert SHEET not in (out / CARD).read_text()


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


def test_a_signal_ends_the_command_and_all_it_started(
    address: str, tiny_folder: Path, tmp_path: Path
) -> None:
    prompts = [f"a tree {row}" for row in range(200)]
    file, out = write_prompts(tmp_path / "p.txt", prompts), tmp_path / "out"
    process = start(_command, file, out, tiny_folder, address)
    wait_for(lambda: list(out.glob("*.parquet")), process)
    assert process.pid
    os.kill(process.pid, signal.SIGTERM)
    process.join(DEADLINE_S)
    assert process.exitcode == 128 + signal.SIGTERM
    assert not list(out.glob(".*"))
    assert not (out / SUCCESS).exists()
    deadline = time.monotonic() + DEADLINE_S
    while ray.available_resources().get("CPU") != CPUS:
        assert time.monotonic() < deadline, "its workers are still there"
        time.sleep(0.1)


def _command(file: Path, out: Path, model: Path, address: str) -> None:
    from hawk.cli.app import app

    options = ["--model", str(model), "--address", address, "--rows-per-file", "2"]
    app(["batch", str(file), str(out), "--cpus-per-worker", "0.5", *options])
