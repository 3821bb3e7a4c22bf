"""Columns that travel from the input to the output keep what they say, and get a type."""

import datetime
import io
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import datasets
import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hawk.batch.shard import ShardWriter
from hawk.batch.staging import Staged
from hawk.prompts.columns import ColumnChoice
from hawk.prompts.inputs import find
from hawk.prompts.kept_columns import original
from hawk.prompts.survey import Survey
from hawk.storage.folder import Folder, locate
from tests.batch.test_files import counts, row


def staged(path: Path, keep: str = "all") -> Staged:
    survey = Survey(find(locate(str(path), endpoint=None)), ColumnChoice(keep=keep))
    return Staged(io.BytesIO(), survey.entries(), survey.files, seed=0, fields=survey.fields)


def column(path: Path, name: str, keep: str = "all") -> tuple[pa.DataType, list[Any]]:
    """Type and values of a column of the output."""
    made = staged(path, keep)
    found = made.slice(0, made.rows)[f"input_{name}"]
    return found.type, found.to_pylist()


@pytest.mark.parametrize(
    ("texts", "kind", "values"),
    [
        (["1", "", "-3"], pa.int64(), [1, None, -3]),
        (["1.0", "nan", "3"], pa.int64(), [1, None, 3]),
        (["0.5", "2", ""], pa.float64(), [0.5, 2.0, None]),
        (["True", "", "False"], pa.bool_(), [True, None, False]),
        (["007", "8"], pa.string(), ["007", "8"]),
        (["1.10", "1.2"], pa.string(), ["1.10", "1.2"]),
        (["1e3", "2"], pa.string(), ["1e3", "2"]),
        (["nan", "Ann"], pa.string(), ["nan", "Ann"]),
        (["True", "1"], pa.string(), ["True", "1"]),
        (["9007199254740993", "1"], pa.int64(), [9007199254740993, 1]),
        (["9007199254740993", "0.5"], pa.string(), ["9007199254740993", "0.5"]),
        (["123456789012345678901"], pa.string(), ["123456789012345678901"]),
        (["", ""], pa.string(), [None, None]),
        (["+1"], pa.string(), ["+1"]),
        (["inf"], pa.string(), ["inf"]),
    ],
)
def test_text_gets_a_type_where_nothing_is_lost(
    tmp_path: Path, texts: list[str], kind: pa.DataType, values: list[Any]
) -> None:
    lines = "".join(f"p,{text}\n" for text in texts)
    (tmp_path / "a.csv").write_text(f"prompt,x\n{lines}")
    assert column(tmp_path / "a.csv", "x") == (kind, values)


@pytest.mark.parametrize(
    ("given", "kind", "values"),
    [
        ([1, None, 3], pa.int64(), [1, None, 3]),
        ([1, 0.5], pa.float64(), [1.0, 0.5]),
        ([float("nan"), 0.5], pa.float64(), [None, 0.5]),
        ([True, None], pa.bool_(), [True, None]),
        (["1", 2], pa.string(), ["1", "2"]),
        ([2**70, 1], pa.string(), [str(2**70), "1"]),
        ([[1, "a"], {}], pa.string(), ['[1, "a"]', "{}"]),
        (["half \ud800"], pa.string(), ["half ?"]),
    ],
    ids=str,
)
def test_json_keeps_its_types(
    tmp_path: Path, given: list[Any], kind: pa.DataType, values: list[Any]
) -> None:
    lines = "".join(json.dumps({"prompt": "p", "x": value}) + "\n" for value in given)
    (tmp_path / "a.jsonl").write_text(lines)
    assert column(tmp_path / "a.jsonl", "x") == (kind, values)


def test_parquet_keeps_its_types(tmp_path: Path) -> None:
    nanoseconds = pa.scalar(1, pa.timestamp("ns"))
    columns = {
        "time": pa.array([nanoseconds, None], pa.timestamp("ns")),
        "price": pa.array([Decimal("1.10"), None], pa.decimal128(10, 2)),
        "tags": pa.array([["a", "b"], []], pa.list_(pa.string())),
        "box": pa.array([{"x": 1, "y": 2.5}, None]),
        "day": pa.array([datetime.date(2026, 1, 2), None]),
        "score": pa.array([1.0, 2.0], pa.float32()),
        "kind": pa.array(["a", "b"]).dictionary_encode(),
    }
    table = pa.table({"prompt": ["p", "q"], **columns})
    pq.write_table(table, tmp_path / "a.parquet")
    made = staged(tmp_path / "a.parquet")
    found = made.slice(0, 2)
    for name, array in columns.items():
        kind = pa.string() if name == "kind" else array.type
        assert found[f"input_{name}"].type == kind
        assert found[f"input_{name}"].combine_chunks().cast(kind).equals(array.cast(kind))


def test_pictures_in_the_input_are_left_out_unless_wanted(tmp_path: Path) -> None:
    image = [{"bytes": b"png", "path": None}]
    pq.write_table(pa.table({"prompt": ["p"], "image": image, "x": [1]}), tmp_path / "a.parquet")
    survey = Survey(find(locate(str(tmp_path / "a.parquet"), endpoint=None)), ColumnChoice())
    assert [field.name for field in survey.fields] == ["input_x"]
    assert "kept: 'x'; not kept: 'image' (binary)" in survey.notes[0]
    assert column(tmp_path / "a.parquet", "image", keep="image")[1] == image


@pytest.mark.parametrize(
    ("first", "second", "kind", "values"),
    [
        (pa.array([1], pa.int32()), "7", pa.int64(), [1, 7]),
        (pa.array([1], pa.int32()), "x", pa.string(), ["1", "x"]),
        (pa.array([1.5], pa.float32()), "7", pa.float64(), [1.5, 7.0]),
        (pa.array(["a"], pa.large_string()), "7", pa.string(), ["a", "7"]),
        (pa.array([[1]]), "7", pa.string(), ["[1]", "7"]),
        (pa.array([None]), "7", pa.int64(), [None, 7]),
    ],
    ids=str,
)
def test_files_agree_on_a_type(
    tmp_path: Path, first: pa.Array, second: str, kind: pa.DataType, values: list[Any]
) -> None:
    pq.write_table(pa.table({"prompt": ["p"], "x": first}), tmp_path / "a.parquet")
    (tmp_path / "b.csv").write_text(f"prompt,x\nq,{second}\n")
    found, got = column(tmp_path, "x")
    assert (pa.string() if pa.types.is_large_string(found) else found) == kind
    assert got == values


def test_files_need_not_have_the_same_columns(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("prompt,x\np,1\n")
    (tmp_path / "b.csv").write_text("prompt,y\nq,2\n")
    assert column(tmp_path, "x")[1] == [1, None]
    assert column(tmp_path, "y")[1] == [None, 2]


def test_other_values_are_another_job(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("prompt,x\np,1\n")
    first = staged(tmp_path / "a.csv").fingerprint
    assert staged(tmp_path / "a.csv", keep="none").fingerprint != first
    (tmp_path / "a.csv").write_text("prompt,x\np,2\n")
    assert staged(tmp_path / "a.csv").fingerprint != first


def test_kept_columns_open_in_the_tools_of_the_field(tmp_path: Path) -> None:
    lines = [
        {"prompt": "p", "id": "row-0", "tag": "a", "boxes": [{"x": 1}], "score": 0.5},
        {"prompt": "q", "id": "row-1", "tag": None, "boxes": [], "score": None},
    ]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    made = staged(tmp_path / "a.jsonl")
    folder = Folder(str(tmp_path / "out"))
    folder.prepare()
    kept = made.slice(0, 2).select([field.name for field in made.fields])
    writer = ShardWriter(folder, "part-00000.parquet", rows=2, job="job", kept=kept)
    for place in (1, 0):
        writer.add(place, row(place), counts())
    opened = datasets.load_dataset(
        "parquet", data_dir=folder.url, split="train", cache_dir=str(tmp_path / "cache")
    )
    assert opened[0]["input_score"] == 0.5
    assert opened[0]["image"].size == (4, 4)
    frame = pd.read_parquet(folder.url)
    assert frame["input_tag"].tolist()[0] == "a"
    with duckdb.connect() as connection:
        query = f"select id, input_boxes from read_parquet('{folder.url}') order by id"
        assert connection.execute(query).fetchall() == [("row-0", '[{"x": 1}]'), ("row-1", "[]")]
    schema = pq.read_schema(tmp_path / "out" / "part-00000.parquet")
    assert original(schema.field("input_boxes")) == ("boxes", True)
    assert original(schema.field("input_tag")) == ("tag", False)
    assert original(schema.field("prompt")) is None
