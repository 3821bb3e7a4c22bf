"""Prompts of every kind are staged once, in order, with stable ids and seeds."""

import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hawk.batch.staging import GROUP_ROWS, Staged
from hawk.prompts.columns import ColumnChoice
from hawk.prompts.duplicates import Duplicates
from hawk.prompts.inputs import find
from hawk.prompts.survey import Survey
from hawk.storage.folder import locate

AWKWARD = ['say "cheese"', "two\nlines", "comma, semicolon; tab\t", "żółw 🐢", "a" * 2**20]


def surveyed(path: Path | str, **wanted: Any) -> Survey:
    return Survey(find(locate(str(path), endpoint=None)), ColumnChoice(**wanted))


def staged(path: Path | str, *, seed: int = 0, **wanted: Any) -> Staged:
    survey = surveyed(path, **wanted)
    return Staged(io.BytesIO(), survey.entries(), survey.files, seed=seed, fields=survey.fields)


def rows(path: Path | str, *, seed: int = 0, **wanted: Any) -> list[dict[str, Any]]:
    found = staged(path, seed=seed, **wanted)
    return found.slice(0, found.rows).to_pylist()


def write_csv(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def write_jsonl(path: Path, values: list[Any]) -> Path:
    path.write_text("".join(json.dumps(value) + "\n" for value in values), encoding="utf-8")
    return path


def test_every_kind_gives_the_same_prompts(tmp_path: Path) -> None:
    quoted = "".join('"' + prompt.replace('"', '""') + '"\r\n' for prompt in AWKWARD)
    kinds = [
        write_csv(tmp_path / "a.csv", "prompt\r\n" + quoted),
        write_jsonl(tmp_path / "a.jsonl", [{"prompt": prompt} for prompt in AWKWARD]),
        write_jsonl(
            tmp_path / "b.jsonl",
            [{"custom_id": "", "body": {"prompt": prompt}} for prompt in AWKWARD],
        ),
        tmp_path / "a.parquet",
    ]
    pq.write_table(pa.table({"prompt": AWKWARD}), kinds[-1])
    first, *others = [rows(path) for path in kinds]
    assert [row["prompt"] for row in first] == AWKWARD
    assert all(other == first for other in others)
    assert len({row["id"] for row in first}) == len(AWKWARD)
    assert not any(row["error"] for row in first)


def test_text_is_a_prompt_a_line_without_the_blank_ones(tmp_path: Path) -> None:
    path = tmp_path / "a.TXT"
    path.write_bytes("\ufeffone\r\n\n   \n two \nthree, \u2028 still three".encode())
    assert [row["prompt"] for row in rows(path)] == ["one", "two", "three, \u2028 still three"]


def test_all_columns_arrive_from_text_and_numbers(tmp_path: Path) -> None:
    values = {
        "prompt": "p", "id": "x", "seed": 7, "negative_prompt": "no", "guidance": 2.5,
        "temperature": 0.5, "top_k": 10, "top_p": 0.9,
    }  # fmt: skip
    [from_json] = rows(write_jsonl(tmp_path / "a.jsonl", [values]))
    header, line = ",".join(values), ",".join(map(str, values.values()))
    [from_csv] = rows(write_csv(tmp_path / "a.csv", f"{header}\n{line}\n"))
    rest = dict.fromkeys(("size", "output_format", "output_compression", "error"))
    assert from_json == from_csv == values | {"item": "x", "copy": 0} | rest


def test_half_a_character_in_a_columns_name_breaks_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(r'{"prompt": "p", "half \ud800": 1}' + "\n")
    [row] = rows(path)
    assert (row["prompt"], row["error"]) == ("p", None)


def test_a_folder_and_a_glob_are_read_in_the_order_of_names(tmp_path: Path) -> None:
    for name, text in (("b.txt", "2"), ("a.txt", "1"), ("c.md", "no"), ("_x.txt", "no")):
        (tmp_path / name).write_text(text)
    (tmp_path / "deep").mkdir()
    write_jsonl(tmp_path / "deep" / "d.jsonl", [{"prompt": "3"}])
    assert [row["prompt"] for row in rows(tmp_path)] == ["1", "2", "3"]
    assert [row["prompt"] for row in rows(tmp_path / "*.txt")] == ["1", "2"]


def test_ids_and_seeds_depend_on_content_and_place_alone(tmp_path: Path) -> None:
    first = rows(write_csv(tmp_path / "a.txt", "same\nsame\nother\n"))
    again = rows(write_csv(tmp_path / "b.txt", "same\nsame\nother\n"))
    assert first == again
    assert len({row["id"] for row in first}) == len({row["seed"] for row in first}) == 3
    reseeded = rows(tmp_path / "a.txt", seed=1)
    assert [row["id"] for row in reseeded] == [row["id"] for row in first]
    assert not {row["seed"] for row in reseeded} & {row["seed"] for row in first}
    assert staged(tmp_path / "a.txt").fingerprint == staged(tmp_path / "b.txt").fingerprint
    assert staged(tmp_path / "a.txt", seed=1).fingerprint != staged(tmp_path / "a.txt").fingerprint


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"prompt": ""}, "the prompt is empty"),
        ({"prompt": None}, "the prompt is missing"),
        ({"prompt": [3]}, "the prompt must be text, got [3]"),
        ({"prompt": "\ud800"}, "lone surrogates"),
        ({"prompt": "p", "seed": -1}, "seed must be between 0"),
        ({"prompt": "p", "seed": 2**70}, "seed must be a whole number"),
        ({"prompt": "p", "seed": "seven"}, "seed must be a whole number, got 'seven'"),
        ({"prompt": "p", "seed": 1.5}, "seed must be a whole number"),
        ({"prompt": "p", "n": 0}, "n must be between 1 and 10000, got 0"),
        ({"prompt": "p", "n": 10**9}, "n must be between 1"),
        ({"prompt": "p", "top_k": True}, "top_k must be a whole number"),
        ({"prompt": "p", "guidance": [1]}, "guidance must be a number"),
        ({"prompt": "p", "temperature": "inf"}, "temperature must be a number"),
        ({"prompt": "p", "id": {}}, "id must be text"),
    ],
    ids=lambda value: "" if isinstance(value, str) else str(value)[:30],
)
def test_a_bad_row_stays_a_row_with_an_error(
    tmp_path: Path, values: dict[str, Any], complaint: str
) -> None:
    bad, good = rows(write_jsonl(tmp_path / "a.jsonl", [values, {"prompt": "good"}]))
    assert complaint in bad["error"]
    assert good["error"] is None


def test_numbers_that_are_not_there_are_left_to_the_model(tmp_path: Path) -> None:
    pq.write_table(
        pa.table({"prompt": ["p"], "seed": [float("nan")], "top_k": pa.array([None], pa.int64())}),
        tmp_path / "a.parquet",
    )
    [row] = rows(tmp_path / "a.parquet")
    assert row["top_k"] is None
    assert row["error"] is None


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("a.csv", b"title,style\na,b\n", "no column with prompts: it has 'title', 'style'"),
        ("a.csv", b"", "no column with prompts: it has none"),
        ("a.csv", b"prompt\na\nb,c\n", "a.csv, line 3: more fields than the header has"),
        ("a.csv", b'prompt\n"never closed\n', "a.csv is not .csv"),
        ("a.jsonl", b'{"prompt": "a"}\n{"prompt"\n', "a.jsonl, line 2: not JSON"),
        ("a.jsonl", b'["prompt"]\n', "a.jsonl, line 1: not a JSON object"),
        ("a.txt", b"\xff\xfe\x00", "a.txt is not UTF-8 text"),
        ("a.txt", b"\n \n", "no prompts in"),
        ("a.parquet", b"PAR1 and no more", "a.parquet is not .parquet"),
        ("a.xlsx", b"", "a.xlsx is none of .txt, .csv, .tsv, .json, .jsonl"),
    ],
)
def test_a_malformed_file_is_refused_with_its_line(
    tmp_path: Path, name: str, content: bytes, complaint: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=complaint.replace("(", r"\(")):
        staged(tmp_path / name)


def test_a_missing_input_is_named(tmp_path: Path) -> None:
    for path in (tmp_path / "none.txt", tmp_path / "*.csv", tmp_path):
        with pytest.raises(FileNotFoundError, match="no "):
            staged(path)


def test_an_id_that_is_twice_is_refused_with_both_lines(tmp_path: Path) -> None:
    write_csv(tmp_path / "a.csv", "id,prompt\nx,1\ny,2\n")
    write_jsonl(tmp_path / "b.jsonl", [{"id": "z", "prompt": "3"}, {"id": "x", "prompt": "4"}])
    with pytest.raises(ValueError, match=r"id 'x' is twice .*a.csv, line 2, and .*b.jsonl, line 2"):
        staged(tmp_path)


def test_of_several_ids_the_first_to_come_again_is_named(tmp_path: Path) -> None:
    rows = [*range(GROUP_ROWS + 5), 7, GROUP_ROWS + 1, 3]
    write_csv(tmp_path / "a.csv", "id,prompt\n" + "".join(f"row-{n},p\n" for n in rows))
    with pytest.raises(
        ValueError, match=rf"'row-7' is twice .*, line 9, .*, line {GROUP_ROWS + 7}"
    ):
        staged(tmp_path / "a.csv")


def test_ids_that_only_hash_alike_are_two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add = Duplicates.add
    monkeypatch.setattr(Duplicates, "add", lambda self, name, place: add(self, "", place))
    write_csv(tmp_path / "a.csv", "id,prompt\nx,1\ny,2\n")
    assert staged(tmp_path / "a.csv").rows == 2


def test_slices_cross_the_groups_of_the_staged_file(tmp_path: Path) -> None:
    count = 2 * GROUP_ROWS + 10
    write_csv(tmp_path / "a.txt", "".join(f"prompt {row}\n" for row in range(count)))
    found = staged(tmp_path / "a.txt")
    assert found.rows == count
    for start, stop in ((0, 3), (GROUP_ROWS - 2, GROUP_ROWS + 2), (5, count), (count - 1, count)):
        prompts = found.slice(start, stop)["prompt"].to_pylist()
        assert prompts == [f"prompt {row}" for row in range(start, stop)]
