"""What holds for every file of prompts, whoever wrote it."""

import itertools
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from hawk.prompts.row_values import MOST_COPIES
from tests.batch.test_inputs import rows, write_jsonl
from tests.properties import JSON, NUMBER, SEEDED, TEXT

COLUMNS = ("seed", "n", "negative_prompt", "guidance", "temperature", "top_k", "top_p")
KINDS = (".txt", ".csv", ".jsonl", ".parquet")
ROW = st.builds(
    lambda prompt, rest: {"prompt": prompt} | rest,
    st.one_of(TEXT, JSON),
    st.dictionaries(
        st.sampled_from(COLUMNS), st.one_of(JSON, NUMBER, st.integers(0, 5)), max_size=4
    ),
)
numbers = itertools.count()


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder in which every example has a file of its own."""
    return tmp_path


@SEEDED
@given(values=st.lists(ROW, min_size=1, max_size=4), name=st.one_of(JSON, NUMBER))
def test_rows_come_out_as_many_as_go_in(
    place: Path, values: list[dict[str, Any]], name: object
) -> None:
    """Whatever is in them: what makes no sense becomes the error of its row."""
    assume(not any(type(row.get("n")) in (int, float, str) for row in values))
    values = [values[0] | {"id": name}, *values[1:]]
    file = write_jsonl(place / f"{next(numbers)}.jsonl", values)
    found = rows(file)
    assert len(found) == len(values)
    for row in found:
        assert 0 <= row["seed"] < 2**63
        row["prompt"].encode()
        assert row["error"] is None or row["error"].strip()
    assert rows(file) == found


@SEEDED
@given(n=st.one_of(st.integers(-5, 20), st.sampled_from([MOST_COPIES + 1, 2**63, -(2**63)])))
def test_copies_are_as_many_as_asked_or_one_error(place: Path, n: int) -> None:
    file = write_jsonl(place / f"{next(numbers)}.jsonl", [{"prompt": "a", "n": n, "seed": 7}])
    found = rows(file)
    if 1 <= n <= MOST_COPIES:
        assert [row["seed"] for row in found] == list(range(7, 7 + n))
        assert not any(row["error"] for row in found)
    else:
        [row] = found
        assert row["error"]


def told(file: Path) -> str:
    """What is said of a file that cannot be read, or its name where it can."""
    try:
        return file.name if rows(file) else "no rows, and not a word"
    except ValueError as error:
        return str(error)


@SEEDED
@given(kind=st.sampled_from(KINDS), content=st.binary(max_size=60))
@example(kind=".jsonl", content=b'{"prompt": 1e999}\n')
@example(kind=".csv", content=b'prompt\n"')
@example(kind=".parquet", content=b"PAR1PAR1")
def test_any_bytes_are_rows_or_a_sentence_with_the_file(
    place: Path, kind: str, content: bytes
) -> None:
    file = place / f"{next(numbers)}{kind}"
    file.write_bytes(content)
    assert file.name in told(file)


@SEEDED
@given(
    damage=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=3)
)
def test_a_damaged_parquet_is_rows_or_a_sentence_with_the_file(
    place: Path, damage: list[tuple[int, int]]
) -> None:
    file = place / f"{next(numbers)}.parquet"
    pq.write_table(pa.table({"prompt": ["a", "b"], "seed": [1, 2]}), file)
    content = bytearray(file.read_bytes())
    for position, byte in damage:
        content[position % len(content)] = byte
    file.write_bytes(content)
    assert file.name in told(file)


@SEEDED
@given(prompts=st.lists(st.text(st.characters(codec="utf-8"), max_size=20), min_size=1, max_size=4))
def test_a_column_of_text_is_the_same_in_every_kind(place: Path, prompts: list[str]) -> None:
    assume("\x00" not in "".join(prompts))
    name = next(numbers)
    jsonl = write_jsonl(place / f"{name}.jsonl", [{"prompt": prompt} for prompt in prompts])
    parquet = place / f"{name}.parquet"
    pq.write_table(pa.table({"prompt": prompts}), parquet)
    assert rows(jsonl) == rows(parquet)
    assert json.loads(json.dumps([row["prompt"] for row in rows(jsonl)])) == prompts
