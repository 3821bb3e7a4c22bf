"""Lines of OpenAI's Batch API: all of a body is honoured, or the row says what is not."""

import io
import json
from pathlib import Path
from typing import Any

import pytest

from hawk.batch.staging import Staged
from hawk.prompts.columns import ColumnChoice
from hawk.prompts.inputs import find
from hawk.prompts.survey import Survey
from hawk.storage.folder import locate


def line(**changes: Any) -> dict[str, Any]:
    return {
        "custom_id": "one",
        "method": "POST",
        "url": "/v1/images/generations",
        "body": {"model": "any", "prompt": "a cup"},
    } | changes


def staged(folder: Path, *lines: dict[str, Any]) -> list[dict[str, Any]]:
    file = folder / "a.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    survey = Survey(find(locate(str(file), endpoint=None)), ColumnChoice())
    made = Staged(io.BytesIO(), survey.entries(), survey.files, seed=0, fields=survey.fields)
    return made.slice(0, made.rows).to_pylist()


def test_a_request_becomes_its_images(tmp_path: Path) -> None:
    body = {"n": 2, "seed": 5, "guidance_scale": 3, "size": "64x64", "output_format": "jpeg",
            "output_compression": 80, "quality": "standard", "user": "somebody"}  # fmt: skip
    rows = staged(tmp_path, line(body={"model": "any", "prompt": "a cup"} | body))
    assert [(row["id"], row["seed"]) for row in rows] == [("one-0", 5), ("one-1", 6)]
    for row in rows:
        assert row["error"] is None
        assert (row["guidance"], row["size"], row["item"]) == (3.0, "64x64", "one")
        assert (row["output_format"], row["output_compression"]) == ("jpeg", 80)
        assert (row["input_model"], row["input_user"]) == ("any", "somebody")


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"url": "/v1/chat/completions"}, "url is '/v1/chat/completions', and only /v1/images"),
        ({"method": "GET"}, "method is 'GET', and has to be POST"),
        ({"url": None}, "url is None"),
        ({"body": None}, "body must be an object, got None"),
        ({"body": {"prompt": "a", "quality": "hd"}}, "quality must be one of auto, standard"),
        ({"body": {"prompt": "a", "output_format": "gif"}}, "output_format must be one of png"),
        ({"body": {"prompt": "a", "output_format": ["png"]}}, "output_format must be one of png"),
        ({"body": {"prompt": "a", "background": "transparent"}}, "background must be one of"),
        ({"body": {"prompt": "a", "output_compression": 101}}, "output_compression must be"),
        ({"body": {"prompt": "a", "n": 0}}, "n must be between 1"),
        ({"body": {"prompt": "a", "size": ["large"]}}, "size must be text"),
        ({"body": {"n": 1}}, "the prompt is missing"),
    ],
    ids=lambda value: "" if isinstance(value, str) else json.dumps(value)[:40],
)
def test_a_request_that_cannot_be_met_is_an_error_row(
    tmp_path: Path, changes: dict[str, Any], complaint: str
) -> None:
    bad, good = staged(tmp_path, line(**changes), line(custom_id="two"))
    assert complaint in bad["error"]
    assert bad["id"] == "one"
    assert good["error"] is None


def test_what_says_nothing_is_honoured(tmp_path: Path) -> None:
    body = {"size": "auto", "quality": None, "n": None, "output_format": None, "background": "auto"}
    [row] = staged(tmp_path, line(body={"prompt": "a cup"} | body))
    assert (row["error"], row["size"], row["output_format"], row["id"]) == (None, None, None, "one")


def test_rows_with_a_body_of_their_own_are_no_requests(tmp_path: Path) -> None:
    [row] = staged(tmp_path, {"url": "x", "body": "an article", "caption": "a cup", "size": "big"})
    assert (row["prompt"], row["input_body"], row["input_size"]) == ("a cup", "an article", "big")
    assert row["size"] is None


def test_a_request_need_not_say_where_it_goes(tmp_path: Path) -> None:
    [row] = staged(tmp_path, {"custom_id": "one", "body": {"prompt": "a cup"}})
    assert (row["prompt"], row["error"]) == ("a cup", None)
