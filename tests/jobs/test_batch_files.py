"""Files of a run folder: complete or not there, and only continued by the job that began them."""

import io
import json
import resource
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import duckdb
import pandas as pd
import pyarrow.parquet as pq
import pytest
from PIL import Image

from jobs.batch.inputs import Entry
from jobs.batch.manifest import Manifest, rows_per_file
from jobs.batch.messages import Provenance
from jobs.batch.schema import IMAGES
from jobs.batch.settings import Making, Workers, parse_workers
from jobs.batch.shard import GROUP_ROWS, Counts, ShardWriter, read_counts
from jobs.batch.staging import Staged
from jobs.batch.storage import Folder, StorageError

PROVENANCE = Provenance(
    model="m", model_revision="r", drafter="jacobi", rule="coupled", exact=True, width=64, height=64
)


def row(place: int, *, failed: bool = False) -> dict[str, Any]:
    png = io.BytesIO()
    Image.new("RGB", (4, 4), (place % 256, 0, 0)).save(png, "PNG")
    common = dict.fromkeys(IMAGES.names) | {"id": f"row-{place}", "prompt": "p", "seed": place}
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


def test_files_open_in_datasets_pandas_and_duckdb(tmp_path: Path) -> None:
    folder = Folder(str(tmp_path / "out"))
    folder.prepare()
    write_shard(folder, "part-00000.parquet", 3, failed=frozenset({1}))
    write_shard(folder, "part-00001.parquet", 2)
    folder.write("manifest.json", b"{}")
    files = str(tmp_path / "out" / "*.parquet")
    opened = datasets.load_dataset(
        "parquet", data_files=files, split="train", cache_dir=str(tmp_path / "cache")
    )
    assert opened[2]["image"].size == (4, 4)
    assert opened[2]["image"].getpixel((0, 0)) == (2, 0, 0)
    assert opened[1]["image"] is None
    frame = pd.concat(map(pd.read_parquet, sorted((tmp_path / "out").glob("*.parquet"))))
    assert frame["error"].isna().tolist() == [True, False, True, True, True]
    with duckdb.connect() as connection:
        found = connection.execute(f"select count(*), count(image) from '{files}'").fetchone()
    assert found == (5, 4)


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
        Entry(file=0, line=line, values={"prompt": prompt})
        for line, prompt in enumerate(prompts, start=1)
    ]
    return Staged(io.BytesIO(), entries, ["a.txt"], seed=0)


def test_a_manifest_is_read_as_it_was_written(tmp_path: Path) -> None:
    folder = Folder(str(tmp_path))
    assert Manifest.read(folder) is None
    ours = Manifest(
        making=Making(seed=3),
        inputs="abc",
        rows=10,
        rows_per_file=4,
        provenance=PROVENANCE,
        versions={},
    )
    folder.create("manifest.json", ours.to_json())
    assert Manifest.read(folder) == ours
    assert [ours.span(shard) for shard in range(ours.shards)] == [(0, 4), (4, 8), (8, 10)]
    for changed in (
        replace(ours, making=Making(seed=4)),
        replace(ours, inputs="abd"),
        replace(ours, rows_per_file=5),
        replace(ours, provenance=replace(PROVENANCE, model_revision="s")),
    ):
        assert changed.job != ours.job
    (tmp_path / "manifest.json").write_text(json.dumps({"rows": 1}))
    with pytest.raises(ValueError, match="not of this version"):
        Manifest.read(folder)


def test_another_job_is_refused_with_what_differs() -> None:
    prompts = staged("a", "b")
    ours = Manifest(
        making=Making(), inputs=prompts.fingerprint, rows=2, rows_per_file=1, provenance=PROVENANCE
    )
    ours.refuse_other(Making(), prompts, None)
    ours.refuse_other(Making(), prompts, 1)
    with pytest.raises(ValueError, match=r"top_k was None, is 5; rows per file were 1, are 2\. "):
        ours.refuse_other(Making(top_k=5), prompts, 2)
    with pytest.raises(ValueError, match=r"the prompts are others \(2 rows then, 3 now\)"):
        ours.refuse_other(Making(), staged("a", "b", "c"), None)


def test_shards_fit_images_and_workers() -> None:
    assert rows_per_file(10**6, 4, width=384, height=384) == 303  # 128 MB of them
    assert rows_per_file(1000, 2, width=64, height=64) == 63
    assert rows_per_file(16, 2, width=64, height=64) == 4
    assert rows_per_file(6, 4, width=64, height=64) == 2
    assert rows_per_file(1, 8, width=64, height=64) == 1
    assert rows_per_file(10, 1, width=10**5, height=10**5) == 1


def test_workers_are_a_number_or_a_range() -> None:
    assert parse_workers("3") == (3, 3)
    assert parse_workers("2:8") == (2, 8)
    with pytest.raises(ValueError, match="N or MIN:MAX, got 'many'"):
        parse_workers("many")
    with pytest.raises(ValueError, match="1 <= MIN <= MAX, got 3:2"):
        Workers(least=3, most=2)
