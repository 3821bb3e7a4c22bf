"""Prompt sets in the structures in which they are published, with words of our own."""

import bz2
import gzip
import io
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hawk.batch.staging import Staged
from hawk.prompts.columns import ColumnChoice
from hawk.prompts.delimited import is_quoted
from hawk.prompts.survey import Survey
from tests.batch.places import Place

PARTI = (  # PartiPrompts: tabs, no quoting, quotes in the text, numbers as prompts
    "Prompt\tCategory\tChallenge\tNote\n"
    "a lamp\tArtifacts\tBasic\t\n"
    "7\tAbstract\tBasic\tA number\n"
    '"W O W" in red paint on a wall\tIndoor\tComplex\t\n'
    'a sign that says "open" beside a door\tIndoor\tComplex\tquotes, and a comma\n'
)
DRAWBENCH = 'Prompts,Category\nA blue cup.,Colors\n"A cup, a bowl, and a spoon.",Counting\n'
DPG = (  # DPG-Bench: a line a question, an item over several lines
    "item_id,text,keywords,proposition_id,dependency,category_broad\n"
    'cups1,"A cup, and a bowl",cup,1,0,entity\n'
    'cups1,"A cup, and a bowl",cup,2,"0,1",attribute\n'
    "7,A single bowl,bowl,1,0,entity\n"
)
GENEVAL = [  # evaluation_metadata.jsonl
    {"tag": "single_object", "include": [{"class": "cup", "count": 1}], "prompt": "a cup"},
    {
        "tag": "position",
        "include": [{"class": "cup", "count": 1}, {"class": "bowl", "position": ["left of", 0]}],
        "exclude": [{"class": "cup", "count": 2}],
        "prompt": "a bowl left of a cup",
    },
]
COCO = {
    "info": {"year": 2017},
    "licenses": [{"id": 1, "name": "none"}],
    "images": [{"id": 9, "file_name": "9.jpg"}],
    "annotations": [
        {"image_id": 9, "id": 41, "caption": "A cup on a table."},
        {"image_id": 9, "id": 42, "caption": "A table with a cup."},
    ],
}


def staged(place: Place, name: str, **wanted: Any) -> tuple[list[dict[str, Any]], list[str]]:
    """Rows and what was said of a file or folder."""
    survey = Survey(place.found(name), ColumnChoice(**wanted))
    made = Staged(io.BytesIO(), survey.entries(), survey.files, seed=0, fields=survey.fields)
    return made.slice(0, made.rows).to_pylist(), survey.notes


def taken(place: Place, name: str, content: bytes | str, *columns: str) -> list[tuple[Any, ...]]:
    """Some columns of the rows of a file."""
    place.put(name, content)
    rows, _ = staged(place, name)
    assert not [row["error"] for row in rows if row["error"]]
    return [tuple(row[column] for column in columns) for row in rows]


def test_parti_prompts(place: Place) -> None:
    found = taken(place, "p.tsv", PARTI, "prompt", "input_Category", "input_Note")
    assert found == [
        ("a lamp", "Artifacts", None),
        ("7", "Abstract", "A number"),
        ('"W O W" in red paint on a wall', "Indoor", None),
        ('a sign that says "open" beside a door', "Indoor", "quotes, and a comma"),
    ]


def test_draw_bench(place: Place) -> None:
    assert taken(place, "d.csv", DRAWBENCH, "prompt", "input_Category") == [
        ("A blue cup.", "Colors"),
        ("A cup, a bowl, and a spoon.", "Counting"),
    ]
    assert staged(place, "d.csv")[1] == [
        f"{place.location('d.csv').path}: prompt is 'Prompts'; kept: 'Category'"
    ]


def test_dpg_bench_as_a_table(place: Place) -> None:
    """An item is made once; what differs among its lines is nobody's."""
    columns = ("id", "prompt", "input_keywords", "input_proposition_id", "input_category_broad")
    assert taken(place, "dpg_bench.csv", DPG, *columns) == [
        ("cups1", "A cup, and a bowl", "cup", None, None),
        ("7", "A single bowl", "bowl", 1, "entity"),
    ]


def test_dpg_bench_as_a_folder(place: Place) -> None:
    """Files of one prompt each have their names for ids."""
    place.put("prompts/cups1.txt", "A cup, and a bowl")
    place.put("prompts/7.txt", "A single bowl\n")
    place.put("prompts/more/8.txt", "\ufeffA spoon\r\n")
    rows, notes = staged(place, "prompts")
    assert [(row["id"], row["prompt"]) for row in rows] == [
        ("7", "A single bowl"),
        ("cups1", "A cup, and a bowl"),
        ("more/8", "A spoon"),
    ]
    assert notes == ["3 .txt files: one prompt a file, its name is the id"]


def test_gen_eval(place: Place) -> None:
    lines = "".join(json.dumps(line) + "\n" for line in GENEVAL)
    found = taken(place, "m.jsonl", lines, "prompt", "input_tag", "input_include", "input_exclude")
    assert [(prompt, tag) for prompt, tag, *_ in found] == [
        ("a cup", "single_object"),
        ("a bowl left of a cup", "position"),
    ]
    assert [json.loads(include) for *_, include, _ in found] == [
        line["include"] for line in GENEVAL
    ]
    assert found[0][3] is None


def test_coco_captions(place: Place) -> None:
    name = "captions_val2017.json"
    assert taken(place, name, json.dumps(COCO), "id", "prompt", "input_image_id") == [
        ("41", "A cup on a table.", 9),
        ("42", "A table with a cup.", 9),
    ]


@pytest.mark.parametrize(
    "content",
    [
        ["a cup", "a bowl"],
        [{"prompt": "a cup"}, {"prompt": "a bowl"}],
        {"prompts": ["a cup", "a bowl"]},
        {"data": [{"Text": "a cup"}, {"Text": "a bowl"}], "version": 1},
        {"x": {"caption": "a cup"}, "y": {"caption": "a bowl"}},
        {"x": "a cup", "y": "a bowl"},
        {"prompt": {"0": "a cup", "1": "a bowl"}, "seed": {"0": 1, "1": 2}},
        {"prompt": ["a cup", "a bowl"], "seed": [1, 2]},
    ],
    ids=lambda value: json.dumps(value)[:30],
)
def test_shapes_of_json(disk: Place, content: object) -> None:
    assert taken(disk, "a.json", json.dumps(content), "prompt") == [("a cup",), ("a bowl",)]


def test_objects_by_name_have_their_names_for_ids(disk: Place) -> None:
    content = {"x": {"prompt": "a cup"}, "y": {"prompt": "a bowl", "id": "own"}}
    assert taken(disk, "a.json", json.dumps(content), "id") == [("x",), ("own",)]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("{", "a.json, not JSON"),
        ("7", "not a set of prompts: give an array"),
        ("{}", "not a set of prompts"),
        ('{"a": 1}', "not a set of prompts"),
        ("[1]", "line 1: not a JSON object: 1"),
        ('{"prompt": {"0": "a"}, "seed": {"1": 2}}', "its columns have other rows"),
        ("[" * 100_000, "a.json is not .json: .*recursion"),
        ('[{"style": "x"}]', "no column with prompts: it has 'style'; --prompt-column"),
        (b"\xff", "a.json is not UTF-8 text"),
    ],
)
def test_json_of_other_shapes_is_refused(
    tmp_path: Path, content: str | bytes, complaint: str
) -> None:
    place = Place(url=str(tmp_path), endpoint=None)
    place.put("a.json", content)
    with pytest.raises(ValueError, match=complaint):
        staged(place, "a.json")


@pytest.mark.parametrize("suffix", [".gz", ".zst", ".bz2"])
def test_compressed_files_are_read(place: Place, suffix: str) -> None:
    for name, content in (
        ("p.csv", DRAWBENCH),
        ("p.tsv", PARTI),
        ("p.json", json.dumps(COCO)),
        ("p.jsonl", json.dumps(GENEVAL[0])),
        ("p.ndjson", json.dumps(GENEVAL[0])),
        ("p.txt", "one\ntwo\n"),
    ):
        plain = taken(place, name, content, "id", "prompt")
        assert taken(place, f"{name}{suffix}", compressed(content, suffix), "id", "prompt") == plain


@pytest.fixture
def disk(tmp_path: Path) -> Place:
    """Where it makes no difference whether it is S3."""
    return Place(url=str(tmp_path / "place"), endpoint=None)


def compressed(content: str, suffix: str) -> bytes:
    data = content.encode()
    if suffix == ".gz":  # two members, as parallel tools write them
        return gzip.compress(data[:5]) + gzip.compress(data[5:])
    if suffix == ".bz2":
        return bz2.compress(data)
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(data)
    return sink.getvalue().to_pybytes()


@pytest.mark.parametrize("suffix", [".gz", ".zst", ".bz2"])
def test_a_broken_compressed_file_is_named(place: Place, suffix: str) -> None:
    whole = compressed(DRAWBENCH * 100, suffix)
    for data in (whole[: len(whole) // 2], b"no such thing"):
        place.put(f"p.csv{suffix}", data)
        with pytest.raises((ValueError, OSError), match=rf"p\.csv\{suffix} cannot be read"):
            staged(place, f"p.csv{suffix}")


def test_what_pandas_writes(place: Place) -> None:
    """TableRow numbers without a name, whole numbers that became floats beside missing ones."""
    frame = pd.DataFrame(
        {
            "id": [42.0, None, 44.0],
            "Prompt": ["a cup", "a bowl", 'a "spoon"\nand a fork'],
            "seed": [1.0, None, 3.0],
            "score": [0.5, 1.0, None],
            "count": [1.0, None, 3.0],
            "fine": [True, False, True],
        }
    )
    parquet = io.BytesIO()
    frame.set_index("fine", drop=False).to_parquet(parquet)
    place.put("p.csv", str(frame.to_csv()))
    place.put("p.tsv", str(frame.to_csv(sep="\t", index=False)))
    place.put("p.jsonl", str(frame.to_json(orient="records", lines=True)))
    place.put("p.json", str(frame.to_json()))
    place.put("records.json", str(frame.to_json(orient="records")))
    place.put("p.parquet", parquet.getvalue())
    first = None
    for name in ("p.csv", "p.tsv", "p.jsonl", "p.json", "records.json", "p.parquet"):
        rows, _ = staged(place, name)
        found = [
            {n: row[n] for n in ("id", "prompt", "seed", "input_score", "input_fine")}
            for row in rows
        ]
        first = first or found
        assert found == first, name
        assert [row["input_count"] for row in rows] == [1, None, 3]
    assert first is not None
    assert [row["id"] for row in first][::2] == ["42", "44"]
    assert [row["seed"] for row in first][::2] == [1, 3]
    assert [row["input_score"] for row in first] == [0.5, 1.0, None]
    assert [row["input_fine"] for row in first] == [True, False, True]
    assert "not kept: '' (row numbers of pandas)" in staged(place, "p.csv")[1][0]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_csv_may_have_other_delimiters(disk: Place, delimiter: str) -> None:
    lines = [["prompt", "seed"], ["a cup", "1"]]
    content = "".join(delimiter.join(line) + "\r\n" for line in lines)
    assert taken(disk, "p.csv", content, "prompt", "seed") == [("a cup", 1)]


@pytest.mark.parametrize(
    ("text", "quoted"),
    [
        ("a\tb\nc\td\n", False),
        ('a\tb\n"c ""d"" e"\tf\n', True),
        ('a\tb\n"c\td"\tf\n', True),
        ('a\tb\n"two\nlines"\tf\n', True),
        ('a\tb\n"two\n\nand ""three"" lines"\tf\n', True),
        ('a\tb\nc "d" e\tf\n', False),
        ('a\tb\n"c" d\tf\n', False),
        ('a\tb\n"never closed\tf\n', False),
        ('a\tb\n"c"\t"d" e\n', False),
        ('"a"\t"b"\n"c"\t"d"', True),
    ],
)
def test_quotes_in_tabbed_files_are_text_unless_all_are_quoted(text: str, quoted: bool) -> None:
    assert is_quoted(text.splitlines(keepends=True)) is quoted


@pytest.mark.parametrize("name", ["p.txt", "p.jsonl", "p.csv", "p.tsv"])
def test_lines_end_where_lines_end(disk: Place, name: str) -> None:
    prompts = [f"a{end}b" for end in ("\u2028", "\x0b", "\x85", "\x0c", "\x1c")]
    lines = [json.dumps(p, ensure_ascii=False) if name == "p.jsonl" else p for p in prompts]
    header = ["prompt"] if name in ("p.csv", "p.tsv") else []
    content = "\r\n".join([*header, *lines])
    assert taken(disk, name, content, "prompt") == [(prompt,) for prompt in prompts]


def test_text_files_of_all_systems(disk: Place) -> None:
    assert taken(disk, "p.txt", "one\rtwo\r\nthree\n", "prompt") == [
        ("one",),
        ("two",),
        ("three",),
    ]


@pytest.mark.parametrize("name", ["p.csv", "p.tsv", "p.json", "p.jsonl", "p.parquet"])
def test_a_wrong_column_is_one_error(disk: Place, name: str) -> None:
    rows = [{"title": f"a cup {number}", "style": "x"} for number in range(20)]
    put_rows(disk, name, rows)
    complaint = rf"{name}, no column with prompts: it has 'title', 'style'; --prompt-column"
    with pytest.raises(ValueError, match=complaint):
        staged(disk, name)
    with pytest.raises(ValueError, match=rf"{name}, no column 'words': it has 'title', 'style'"):
        staged(disk, name, prompt="words")
    with pytest.raises(ValueError, match=rf"{name}, no column 'key' for ids"):
        staged(disk, name, prompt="title", id="key")
    with pytest.raises(ValueError, match="no column 'other' to keep"):
        staged(disk, name, prompt="title", keep="style,other")


@pytest.mark.parametrize("name", ["p.csv", "p.tsv", "p.json", "p.jsonl", "p.parquet"])
def test_columns_are_taken_by_name(disk: Place, name: str) -> None:
    put_rows(disk, name, [{"Title": "a cup", "TEXT": "no", "key": "k1", "SEED": 5, "style": "x"}])
    rows, notes = staged(disk, name, prompt="title", id="KEY", keep="style")
    assert [(row["prompt"], row["id"], row["seed"], row["input_style"]) for row in rows] == [
        ("a cup", "k1", 5, "x")
    ]
    assert "input_TEXT" not in rows[0]
    assert notes == [
        f"{disk.location(name).path}: prompt is 'Title'; id is 'key'; seed is 'SEED'; "
        f"kept: 'style'; not kept: 'TEXT'"
    ]


@pytest.mark.parametrize("name", ["p.csv", "p.tsv", "p.json", "p.jsonl", "p.parquet"])
def test_nothing_is_kept_where_nothing_is_wanted(disk: Place, name: str) -> None:
    put_rows(disk, name, [{"prompt": "a cup", "style": "x"}])
    rows, notes = staged(disk, name, keep="none")
    assert not [column for column in rows[0] if column.startswith("input_")]
    assert "not kept: 'style'" in notes[0]


def put_rows(place: Place, name: str, rows: list[dict[str, Any]]) -> None:
    frame = pd.DataFrame(rows)
    parquet = io.BytesIO()
    frame.to_parquet(parquet)
    contents = {
        "p.csv": frame.to_csv(index=False),
        "p.tsv": frame.to_csv(index=False, sep="\t"),
        "p.json": json.dumps(rows),
        "p.jsonl": "".join(json.dumps(row) + "\n" for row in rows),
        "p.parquet": parquet.getvalue(),
    }
    place.put(name, contents[name])


def test_the_usual_names_have_an_order(disk: Place) -> None:
    put_rows(disk, "p.csv", [{"text": "a", "Caption": "b", "PROMPT ": "c", "ID": 1}])
    rows, _ = staged(disk, "p.csv")
    assert (rows[0]["prompt"], rows[0]["id"], rows[0]["input_text"]) == ("c", "1", "a")


@pytest.mark.parametrize(
    ("name", "content"),
    [("p.csv", "prompt,a,a\n1,2,3\n"), ("p.tsv", "prompt\tprompt\n1\t2\n")],
)
def test_columns_of_one_name_are_refused(disk: Place, name: str, content: str) -> None:
    disk.put(name, content)
    with pytest.raises(ValueError, match=rf"{name}, two columns are called '(a|prompt)'"):
        staged(disk, name)


def test_files_that_are_alike_are_told_in_one_line(disk: Place) -> None:
    for number in range(5):
        disk.put(f"{number}.csv", f"Prompts,Category\ncup {number},x\n")
    disk.put("other.csv", "caption\na bowl\n")
    assert staged(disk, "")[1] == [
        "5 .csv files: prompt is 'Prompts'; kept: 'Category'",
        f"{disk.location('other.csv').path}: prompt is 'caption'",
    ]


def test_jsonl_may_begin_without_what_comes_later(disk: Place) -> None:
    lines = [{"prompt": f"cup {n}"} for n in range(2000)] + [{"prompt": "bowl", "late": 1.5}]
    disk.put("p.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
    rows, _ = staged(disk, "p.jsonl")
    assert [row["input_late"] for row in rows] == [None] * 2000 + [1.5]


def test_deep_json_is_one_error(disk: Place) -> None:
    disk.put("p.jsonl", '{"prompt": "a"}\n' + '{"prompt": ' + "[" * 100_000 + "\n")
    with pytest.raises(ValueError, match=r"p\.jsonl, line 2: not JSON"):
        staged(disk, "p.jsonl")


def test_parquet_of_a_table_within_a_table(disk: Place) -> None:
    table = pa.table({"prompt": pa.array(["a", "b"]).dictionary_encode(), "top_k": [3, 4]})
    file = io.BytesIO()
    pq.write_table(table, file)
    assert taken(disk, "p.parquet", file.getvalue(), "prompt", "top_k") == [("a", 3), ("b", 4)]
