"""A full disk: the run says so, what is there stays valid, and with more room it goes on."""

import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from hawk.storage.folder import StorageError
from hawk.storage.layout import SUCCESS
from hawk.storage.scratch import in_scratch
from tests.batch.runs import (
    assert_made_by_the_model_alone,
    job,
    read,
    run_here,
    write_prompts,
)

# Takes the manifest, both copies of a contact sheet that is replaced, and a few of the 12 files,
# in whatever order they come.
SMALL, LARGE = "128k", "4m"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small file system of its own, in memory."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SMALL}", "none", str(folder)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"needs the right to mount a tmpfs: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.ray
def test_a_full_disk_ends_the_run_and_room_lets_it_go_on(
    address: str, tiny_folder: Path, tmp_path: Path, disk: Path
) -> None:
    prompts = [f"a red apple {number}" for number in range(60)]
    asked = job(tiny_folder, write_prompts(tmp_path / "p.txt", prompts), disk, rows_per_file=5)
    with pytest.raises(StorageError, match=r"cannot write .*: .*No space left"):
        run_here(asked)
    assert 0 < len(list(disk.glob("*.parquet"))) < 12
    assert not list(disk.glob(".*"))
    assert not (disk / SUCCESS).exists()
    assert_made_by_the_model_alone(read(disk), tiny_folder)

    subprocess.run(["mount", "-o", f"remount,size={LARGE}", str(disk)], check=True)
    assert run_here(asked)[0]["images"] == 60
    assert [row["prompt"] for row in read(disk)] == prompts


def test_a_full_folder_of_temporary_files_is_told_by_its_name(
    tiny_folder: Path, tmp_path: Path, disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(disk))
    prompts = write_prompts(tmp_path / "p.txt", [f"{number:x} apples" for number in range(50_000)])
    with pytest.raises(OSError, match=rf"{disk} has no room for temporary files \(No space left"):
        run_here(job(tiny_folder, prompts, tmp_path / "out"))


def test_other_faults_of_temporary_files_are_told_as_they_are() -> None:
    with pytest.raises(ConnectionError, match="lost"), in_scratch():
        raise ConnectionError("lost")
