"""Files of a run folder: complete or not there, and only continued by the job that began them."""

import errno
import fcntl
import io
import json
import os
import resource
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest
from PIL import Image

from hawk.batch.job_settings import JobSettings, WorkerSettings
from hawk.batch.manifest import Manifest, rows_per_file
from hawk.batch.schema import IMAGES
from hawk.batch.shard import GROUP_ROWS, Counts, ShardWriter, damage, read_counts
from hawk.batch.sheet import Sheet
from hawk.batch.staging import Staged
from hawk.batch.worker_messages import Provenance
from hawk.prompts.survey import GivenRow
from hawk.settings import SamplerSettings
from hawk.storage import layout
from hawk.storage.folder import Folder, StorageError

PROVENANCE = Provenance(
    model="m",
    model_revision="r",
    drafter="jacobi",
    rule="coupled",
    exact=True,
    width=64,
    height=64,
    device="cpu",
    dtype="float32",
)


def row(place: int, *, failed: bool = False) -> dict[str, Any]:
    png = io.BytesIO()
    Image.new("RGB", (4, 4), (place % 256, 0, 0)).save(png, "PNG")
    common = dict.fromkeys(IMAGES.names) | {
        "id": f"row-{place}", "item": f"row-{place}", "copy": 0, "prompt": "p", "seed": place,
    }  # fmt: skip
    if failed:
        return common | {"error": "bad", "error_type": "InvalidRow"}
    return common | {"image": {"bytes": png.getvalue(), "path": None}, "width": 4, "height": 4}


def counts(*, failed: bool = False) -> Counts:
    if failed:
        return Counts(rows=1, errors={"InvalidRow": 1})
    return Counts(rows=1, images=1, tokens=10, forwards=5)


def write_shard(
    folder: Folder, name: str, rows: int, *, failed: frozenset[int] = frozenset()
) -> None:
    writer = ShardWriter(folder, name, rows=rows, job="job")
    for place in range(rows):
        bad = place in failed
        writer.add(place, row(place, failed=bad), counts(failed=bad))


def test_rows_are_stored_in_their_order_whenever_they_come(tmp_path: Path) -> None:
    folder, rows = Folder(str(tmp_path)), GROUP_ROWS + 24
    writer = ShardWriter(folder, "part-00000.parquet", rows=rows, job="job")
    for count, place in enumerate((place ^ 3 for place in range(rows)), start=1):
        assert not (tmp_path / "part-00000.parquet").exists()
        assert writer.add(place, row(place), counts()) == (count == rows)
    assert folder.names() == ["part-00000.parquet"]
    file = pq.ParquetFile(tmp_path / "part-00000.parquet")
    assert file.read(["seed"])["seed"].to_pylist() == list(range(rows))
    assert file.num_row_groups > 1


def test_a_run_folder_opens_as_one_table(tmp_path: Path) -> None:
    """What lies beside the files disturbs none of the tools that read folders."""
    folder = Folder(str(tmp_path / "out"))
    folder.prepare()
    write_shard(folder, "part-00000.parquet", 3, failed=frozenset({1}))
    write_shard(folder, "part-00001.parquet", 2)
    for name in (layout.MANIFEST, layout.SUCCESS, layout.SHEET, layout.CARD):
        folder.write(name, b"{}")
    opened = datasets.load_dataset(
        "parquet", data_dir=folder.url, split="train", cache_dir=str(tmp_path / "cache")
    )
    assert opened[2]["image"].size == (4, 4)
    assert opened[2]["image"].getpixel((0, 0)) == (2, 0, 0)
    assert opened[1]["image"] is None
    frame = pd.read_parquet(folder.url)
    assert frame["error"].isna().tolist() == [True, False, True, True, True]
    assert pyarrow.dataset.dataset(folder.url).count_rows() == 5
    with duckdb.connect() as connection:
        for files in (folder.url, f"{folder.url}/*", f"{folder.url}/*.parquet"):
            query = f"select count(*), count(image) from read_parquet('{files}')"
            assert connection.execute(query).fetchone() == (5, 4)


def test_a_file_counts_only_if_it_is_whole_and_of_this_job(tmp_path: Path) -> None:
    folder, name = Folder(str(tmp_path)), "part-00000.parquet"
    write_shard(folder, name, 3, failed=frozenset({1}))
    found = read_counts(folder, name, rows=3, job="job")
    assert found == Counts(rows=3, images=2, tokens=20, forwards=10, errors={"InvalidRow": 1})
    assert read_counts(folder, name, rows=4, job="job") is None
    assert read_counts(folder, name, rows=3, job="another") is None
    whole = (tmp_path / name).read_bytes()
    for broken in (whole[:-1], whole[: len(whole) // 2], b"", b"PAR1"):
        (tmp_path / name).write_bytes(broken)
        assert read_counts(folder, name, rows=3, job="job") is None
    pq.write_table(IMAGES.empty_table(), tmp_path / name)
    assert read_counts(folder, name, rows=0, job="job") is None


def test_a_file_is_as_it_was_written_or_damaged(tmp_path: Path) -> None:
    """Any byte of it, the seal's own among them."""
    folder, name = Folder(str(tmp_path)), "part-00000.parquet"
    write_shard(folder, name, 3)
    assert damage(folder, name) is None
    whole = (tmp_path / name).read_bytes()
    for place in range(0, len(whole), 23):
        (tmp_path / name).write_bytes(
            whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :]
        )
        assert damage(folder, name), f"byte {place} of {len(whole)}"
    for broken in (whole[:-1], whole[: len(whole) // 2], whole + b"x", b"", b"PAR1"):
        (tmp_path / name).write_bytes(broken)
        assert damage(folder, name)
    (tmp_path / name).unlink()
    assert damage(folder, name) == "it is not there"


def test_a_file_without_a_seal_is_read_through(tmp_path: Path) -> None:
    folder, name = Folder(str(tmp_path)), "part-00000.parquet"
    rows = pa.Table.from_pylist([row(0), row(1)], schema=IMAGES)
    pq.write_table(rows, tmp_path / name, compression="none")
    assert damage(folder, name) == "its checksum is gone"
    assert damage(folder, name, sealed=False) is None
    data = bytearray((tmp_path / name).read_bytes())
    start = data.index(row(1)["image"]["bytes"])
    data[start + 20 : start + 60] = bytes(40)
    (tmp_path / name).write_bytes(data)
    assert damage(folder, name, sealed=False)


def test_a_damaged_picture_leaves_the_sheet_to_others(tmp_path: Path) -> None:
    folder = Folder(str(tmp_path))
    write_shard(folder, "part-00000.parquet", 1)
    (tmp_path / "part-00001.parquet").write_bytes(b"broken")
    sheet = Sheet(folder)
    sheet.add_file("part-00000.parquet", 0)
    sheet.add_file("part-00001.parquet", 1)
    sheet.add({2: b"no picture", 3: row(3)["image"]["bytes"][:60]})
    sheet.draw()
    with Image.open(tmp_path / layout.SHEET) as image:
        assert image.height < 300  # of one picture


def test_a_writer_whose_folder_became_anothers_writes_nothing(tmp_path: Path) -> None:
    folder = Folder(str(tmp_path))
    writer = ShardWriter(folder, "part-00000.parquet", rows=1, job="job")
    folder.write(layout.MANIFEST, b'{"job": "another"}')
    with pytest.raises(StorageError, match="another run has cleared the folder"):
        writer.add(0, row(0), counts())
    writer.discard()
    assert folder.names() == []


@pytest.mark.parametrize("missing", ["links", "locks"])
def test_a_disk_without_links_or_locks_does_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOTSUP, "not here")

    if missing == "links":
        monkeypatch.setattr(Path, "hardlink_to", refuse)
    else:
        monkeypatch.setattr(fcntl, "flock", refuse)
    folder = Folder(str(tmp_path))
    old, young = tmp_path / ".a.0123.tmp", tmp_path / ".b.0123.tmp"
    old.touch()
    young.touch()
    os.utime(old, (0, 0))
    folder.sweep()
    assert not old.exists()
    assert young.exists() == (missing == "locks")  # who knows who is at work on it
    assert folder.create("a", b"first")
    assert not folder.create("a", b"second")
    assert folder.read("a") == b"first"


def test_what_dead_writers_left_is_swept_and_what_live_ones_write_is_not(tmp_path: Path) -> None:
    folder = Folder(str(tmp_path))
    dead = tmp_path / ".part-00001.parquet.0123.tmp"
    dead.write_bytes(b"half")
    writer = ShardWriter(folder, "part-00000.parquet", rows=1, job="job")
    folder.sweep()
    assert not dead.exists()
    writer.add(0, row(0), counts())
    assert folder.names() == ["part-00000.parquet"]
    ShardWriter(folder, "part-00002.parquet", rows=1, job="job").discard()
    assert folder.names() == ["part-00000.parquet"]


def test_create_never_replaces(tmp_path: Path) -> None:
    folder = Folder(str(tmp_path))
    assert folder.create("manifest.json", b"first")
    assert not folder.create("manifest.json", b"second")
    assert folder.read("manifest.json") == b"first"
    assert folder.names() == ["manifest.json"]


def test_a_disk_that_takes_no_more_is_said(tmp_path: Path) -> None:
    """The limit on the size of files stands in for a small disk."""
    folder = Folder(str(tmp_path))
    writer = ShardWriter(folder, "part-00000.parquet", rows=1, job="job")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        with pytest.raises(StorageError, match=r"cannot write part-00000.parquet: .*too large"):
            writer.add(0, row(0), counts())
        writer.discard()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert folder.names() == []


def staged(*prompts: str) -> Staged:
    entries = [
        GivenRow(file=0, line=line, values={"prompt": prompt})
        for line, prompt in enumerate(prompts, start=1)
    ]
    return Staged(io.BytesIO(), entries, ["a.txt"], seed=0)


def test_a_manifest_is_read_as_it_was_written(tmp_path: Path) -> None:
    folder = Folder(str(tmp_path))
    assert Manifest.read(folder) is None
    ours = Manifest(
        settings=JobSettings(seed=3).identity(),
        inputs="abc",
        rows=10,
        rows_per_file=4,
        provenance=PROVENANCE,
        versions={},
    )
    folder.create(layout.MANIFEST, ours.to_json())
    assert Manifest.read(folder) == ours
    assert json.loads(folder.read(layout.MANIFEST))["job"] == ours.job
    assert [ours.span(shard) for shard in range(ours.shards)] == [(0, 4), (4, 8), (8, 10)]
    for changed in (
        replace(ours, settings=JobSettings(seed=4).identity()),
        replace(ours, inputs="abd"),
        replace(ours, rows_per_file=5),
        replace(ours, provenance=replace(PROVENANCE, model_revision="s")),
        replace(ours, provenance=replace(PROVENANCE, device="cuda")),
        replace(ours, provenance=replace(PROVENANCE, dtype="bfloat16")),
    ):
        assert changed.job != ours.job
    folder.write(layout.MANIFEST, json.dumps({"rows": 1}).encode())
    with pytest.raises(ValueError, match="not of this version"):
        Manifest.read(folder)


def test_another_job_is_refused_with_what_differs() -> None:
    prompts = staged("a", "b")
    ours = Manifest(
        settings=JobSettings().identity(),
        inputs=prompts.fingerprint,
        rows=2,
        rows_per_file=1,
        provenance=PROVENANCE,
    )
    ours.refuse_other(ours.settings, prompts, None)
    ours.refuse_other(ours.settings, prompts, 1)
    other = JobSettings(sampling=SamplerSettings(top_k=5)).identity()
    with pytest.raises(ValueError, match=r"top_k was None, is 5; rows per file were 1, are 2\. "):
        ours.refuse_other(other, prompts, 2)
    with pytest.raises(ValueError, match=r"the prompts are others \(2 rows then, 3 now\)"):
        ours.refuse_other(ours.settings, staged("a", "b", "c"), None)


def test_shards_fit_images_and_workers() -> None:
    assert rows_per_file(10**6, 4, width=384, height=384) == 303  # 128 MB of them
    assert rows_per_file(1000, 2, width=64, height=64) == 63
    assert rows_per_file(16, 2, width=64, height=64) == 4
    assert rows_per_file(6, 4, width=64, height=64) == 2
    assert rows_per_file(1, 8, width=64, height=64) == 1
    assert rows_per_file(10, 1, width=10**5, height=10**5) == 1


def test_workers_are_a_number_or_a_range() -> None:
    for text, counts in (("3", (3, 3)), ("2:8", (2, 8))):
        found = WorkerSettings(workers=text)
        assert (found.least, found.most) == counts
    with pytest.raises(ValueError, match="N or MIN:MAX, got 'many'"):
        WorkerSettings(workers="many")
    with pytest.raises(ValueError, match="1 <= MIN <= MAX, got 3:2"):
        WorkerSettings(workers="3:2")
