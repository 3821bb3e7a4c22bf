"""Runs beside each other in a folder: none throws away what another is making."""

import json
import os
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hawk.batch import clearing, presence
from hawk.batch.manifest import Manifest
from hawk.batch.presence import Presence
from hawk.batch.shard import ShardWriter
from hawk.storage import layout
from hawk.storage.folder import Folder
from tests.batch.places import Place
from tests.batch.test_files import PROVENANCE, counts, row


def marks(folder: Folder) -> list[str]:
    return [name for name in folder.names(layout.SIDE) if presence.MARK.fullmatch(name)]


def leave_mark(folder: Folder, **changes: Any) -> None:
    """The mark of a run that has not taken it with it."""
    with Presence(folder, clears=False) as run:
        mark = replace(run._mark, **changes)
    folder.write(f"{layout.SIDE}/run-0123456789ab.json", json.dumps(mark.__dict__).encode())


def test_runs_that_go_on_work_side_by_side(place: Place) -> None:
    folder = place.folder("out")
    folder.prepare()
    with Presence(folder, clears=False), Presence(folder, clears=False):
        assert len(marks(folder)) == 2
    assert marks(folder) == []


def test_nobody_clears_a_folder_in_which_another_works(place: Place) -> None:
    folder = place.folder("out")
    folder.prepare()
    with (
        Presence(folder, clears=False),
        pytest.raises(ValueError, match=rf"another run is at work in .*process {os.getpid()} on"),
        Presence(folder, clears=True),
    ):
        raise AssertionError("it has entered")
    with Presence(folder, clears=True):
        assert len(marks(folder)) == 1


def test_nobody_enters_while_another_clears(place: Place) -> None:
    folder = place.folder("out")
    folder.prepare()
    with Presence(folder, clears=True) as run:
        with pytest.raises(ValueError, match="is clearing"), Presence(folder, clears=False):
            raise AssertionError("it has entered")
        run.cleared()
        with Presence(folder, clears=False):
            assert len(marks(folder)) == 2


def test_of_many_that_clear_at_once_one_at_most_does(tmp_path: Path) -> None:
    folder = Folder(str(tmp_path))
    inside, most = [0], [0]
    lock, begin = threading.Lock(), threading.Barrier(8)

    def clear() -> None:
        begin.wait()
        try:
            with Presence(folder, clears=True):
                with lock:
                    inside[0] += 1
                    most[0] = max(most[0], inside[0])
                begin_again.wait(0.05)
                with lock:
                    inside[0] -= 1
        except ValueError:
            pass

    begin_again = threading.Event()
    threads = [threading.Thread(target=clear) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most[0] <= 1
    assert marks(folder) == []


def test_a_run_that_was_killed_here_is_forgotten_at_once(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys\n"
        "from hawk.batch.presence import Presence\n"
        "from hawk.storage.folder import Folder\n"
        "Presence(Folder(sys.argv[1]), clears=False).__enter__()\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    folder = Folder(str(tmp_path))
    assert len(marks(folder)) == 1
    with Presence(folder, clears=True):
        assert len(marks(folder)) == 1


def test_a_run_elsewhere_is_dead_when_it_was_silent_for_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Folder(str(tmp_path))
    leave_mark(folder, machine="another", host="elsewhere")
    with (
        pytest.raises(ValueError, match=r"on elsewhere, .* forgotten in 1[78]\d s"),
        Presence(folder, clears=True),
    ):
        raise AssertionError("it has entered")
    [name] = marks(folder)
    long_ago = (tmp_path / layout.SIDE / name).stat().st_mtime - presence.STALE_S - 1
    os.utime(tmp_path / layout.SIDE / name, (long_ago, long_ago))
    with Presence(folder, clears=True):
        assert len(marks(folder)) == 1


def test_a_run_says_now_and_then_that_it_lives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(presence, "BEAT_S", 0.01)
    told, enough = list[str](), threading.Event()
    write = Folder.write

    def watched(folder: Folder, name: str, data: bytes) -> None:
        write(folder, name, data)
        told.append(name)
        if len(told) > 3:
            enough.set()

    monkeypatch.setattr(Folder, "write", watched)
    with Presence(Folder(str(tmp_path)), clears=False):
        assert enough.wait(20)
    assert len(set(told)) == 1


def finished(folder: Folder) -> Manifest:
    """A run of two files."""
    folder.prepare()
    ours = Manifest(settings={}, inputs="", rows=2, rows_per_file=1, provenance=PROVENANCE)
    folder.create(layout.MANIFEST, ours.to_json())
    for shard in range(2):
        name = layout.shard_name(shard)
        ShardWriter(folder, name, rows=1, job=ours.job).add(0, row(shard), counts())
    for name in (layout.SUCCESS, layout.SHEET, layout.CARD):
        folder.write(name, b"{}")
    return ours


def test_clearing_removes_a_run_and_nothing_else(place: Place) -> None:
    folder = place.folder("out")
    finished(folder)
    folder.write("part-00001.parquet", b"broken")  # as a run may leave it
    folder.write("notes.txt", b"mine")
    clearing.clear(folder)
    assert folder.names() == ["notes.txt"]
    assert folder.names(layout.SIDE) == []


def test_files_that_hawk_did_not_write_stop_the_clearing(place: Place) -> None:
    folder = place.folder("out")
    finished(folder)
    mine = pa.BufferOutputStream()
    pq.write_table(pa.table({"prompt": ["a cup"]}), mine)
    for name in ("part-00007.parquet", "other.parquet"):
        folder.write(name, mine.getvalue().to_pybytes())
        before = folder.names()
        with pytest.raises(ValueError, match=f"holds {name}, which is not of this job"):
            clearing.clear(folder)
        assert folder.names() == before
        folder.delete(name)


def test_a_folder_of_the_first_kind_is_cleared(tmp_path: Path) -> None:
    folder = Folder(str(tmp_path))
    ours = finished(folder)
    folder.write("manifest.json", ours.to_json())
    folder.write("_SUCCESS", b"{}")
    folder.write("contact-sheet.png", b"")
    for name in (layout.MANIFEST, layout.SUCCESS, layout.SHEET, layout.CARD):
        folder.delete(name)
    clearing.clear(folder)
    assert folder.names() == []


def test_a_manifest_of_somebody_else_is_no_run(tmp_path: Path) -> None:
    folder = Folder(str(tmp_path))
    folder.write("manifest.json", b'{"name": "an app"}')
    folder.write("part-00000.parquet", b"mine")
    with pytest.raises(ValueError, match=r"holds part-00000\.parquet"):
        clearing.clear(folder)
    assert folder.names() == ["manifest.json", "part-00000.parquet"]
