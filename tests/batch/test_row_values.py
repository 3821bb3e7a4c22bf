"""Values of a row: what is readable stays, whatever else is wrong with it."""

import json
from decimal import Decimal
from typing import Any

import pytest

from hawk.prompts.row_values import prompt_rows

NAN = float("nan")


def rows(values: dict[str, Any]) -> list[dict[str, Any]]:
    return [row._asdict() for row in prompt_rows(values, 0, 0)]


def row(**values: Any) -> dict[str, Any]:
    [found] = rows({"prompt": "a cup"} | values)
    return found


@pytest.mark.parametrize(
    "bad",
    [
        {"negative_prompt": ["no"]},
        {"guidance": "much"},
        {"temperature": {}},
        {"top_k": 1.5},
        {"top_p": True},
        {"prompt": 3j},
        {"prompt": None},
        {"prompt": ""},
        {"n": 0},
    ],
    ids=str,
)
def test_a_row_with_a_bad_field_keeps_its_id_and_seed(bad: dict[str, Any]) -> None:
    found = row(**({"id": "k3", "seed": 3, "top_p": 0.9} | bad))
    assert (found["id"], found["item"], found["seed"]) == ("k3", "k3", 3)
    assert found["error"]
    if "top_p" not in bad:
        assert found["top_p"] == 0.9


def test_what_is_not_a_number_is_missing() -> None:
    found = row(id="k3", negative_prompt=NAN, seed=3, top_k=NAN, guidance=Decimal("NaN"))
    assert found == row(id="k3", seed=3)
    assert found["error"] is None
    assert json.loads('{"negative_prompt": NaN}')["negative_prompt"] != "NaN"  # as JSON reads it


def test_a_bad_id_or_seed_leaves_the_other() -> None:
    assert row(id={}, seed=3)["seed"] == 3
    assert row(id="k3", seed="x")["id"] == "k3"
    assert row(id="k3", seed=2**64)["id"] == "k3"


def test_all_that_is_wrong_is_said() -> None:
    error = row(prompt=" ", top_k="x", n=0)["error"]
    assert error == (
        "the prompt is empty: say what the image should show; "
        "top_k must be a whole number, got 'x'; n must be between 1 and 10000, got 0"
    )


@pytest.mark.parametrize(
    ("given", "name"),
    [
        (42, "42"),
        (42.0, "42"),
        ("42.0", "42"),
        ("-7.0", "-7"),
        (1.5, "1.5"),
        ("1.50", "1.50"),
        ("007", "007"),
        (Decimal("42"), "42"),
        (2**70, str(2**70)),
        ("x.0", "x.0"),
    ],
)
def test_ids_may_be_numbers(given: object, name: str) -> None:
    assert (row(id=given)["id"], row(id=given)["error"]) == (name, None)


@pytest.mark.parametrize("missing", [None, "", NAN])
def test_missing_ids_follow_from_the_row(missing: object) -> None:
    assert row(id=missing) == row()


@pytest.mark.parametrize(
    "given", [42, 42.0, "42", "42.0", " 42 ", "4.2e1", Decimal("42"), Decimal("42.0")]
)
@pytest.mark.parametrize("name", ["seed", "top_k"])
def test_whole_numbers_may_be_written_as_floats(name: str, given: object) -> None:
    found = row(**{name: given})
    assert (found[name], found["error"]) == (42, None)
    assert isinstance(found[name], int)


@pytest.mark.parametrize("given", ["", " ", "nan", "NaN", "null", "None", None, NAN])
def test_numbers_that_are_missing(given: object) -> None:
    assert row(seed=given, top_p=given) == row()


def test_large_seeds_in_text_are_exact() -> None:
    assert row(seed="9007199254740993")["seed"] == 9007199254740993
    assert row(seed=str(2**63 - 2))["seed"] == 2**63 - 2


@pytest.mark.parametrize(("given", "prompt"), [(7, "7"), (7.0, "7"), (7.5, "7.5"), ("7.0", "7.0")])
def test_numbers_are_prompts(given: object, prompt: str) -> None:
    assert (row(prompt=given)["prompt"], row(prompt=given)["error"]) == (prompt, None)


def test_half_a_character_is_stored_as_far_as_it_goes() -> None:
    found = row(prompt="a \ud800 cup", id="k3")
    assert found["prompt"] == "a ? cup"
    assert "lone surrogates" in found["error"]


def test_copies_have_their_item_and_number() -> None:
    made = rows({"prompt": "a cup", "id": "x", "n": "3.0", "seed": 5})
    assert [(r["id"], r["item"], r["copy"], r["seed"]) for r in made] == [
        ("x-0", "x", 0, 5),
        ("x-1", "x", 1, 6),
        ("x-2", "x", 2, 7),
    ]
    assert row(id="x")["id"] == "x"
