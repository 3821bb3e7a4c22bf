"""Values: one row as it was given to the rows that are made, checked field by field.

What makes no sense becomes an error of its row, and what is readable of it stays: a row with a bad
setting keeps its id and seed.
"""

import hashlib
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from typing import Any, NamedTuple

MOST_COPIES = 10_000
SEED_BITS = 53  # whole in JSON and in a pandas float column
NUMBERS = ("seed", "n", "guidance", "temperature", "top_k", "top_p", "output_compression")
WHOLE_NUMBERS = ("seed", "n", "top_k", "output_compression")
TEXTS = ("id", "negative_prompt", "size", "output_format")
MISSING = ("", "nan", "null", "none")  # where a number is due
WHOLE_FLOAT = re.compile(r"(-?[0-9]+)\.0")  # what pandas makes of whole numbers beside missing ones


class PromptRow(NamedTuple):
    """One image to make; fields as the columns of `hawk.batch.schema.PROMPTS`.

    Attributes:
        id: Id of the image: that of the item, and the number of the copy where there are several.
        item: Id of the row as it was given.
        copy: Number of the copy, from 0.
        error: Reason why the row as it was given makes no image.
    """

    id: str
    item: str
    copy: int
    prompt: str
    negative_prompt: str | None
    seed: int
    guidance: float | None
    temperature: float | None
    top_k: int | None
    top_p: float | None
    size: str | None
    output_format: str | None
    output_compression: int | None
    error: str | None


def prompt_rows(
    values: Mapping[str, Any], position: int, base_seed: int, error: str | None = None
) -> Iterator[PromptRow]:
    """Rows of an item, one for each of its `n` images; only one, with `error`, for bad values.

    Args:
        values: Values by the names of batch jobs; others are passed over.
        position: Number of the item in the input, mixed into an id or seed that it lacks.
        base_seed: Seed of the job, mixed into a seed that the item lacks.
        error: Fault that is known already.
    """
    faults = [error] if error else []
    prompt = _read(prompt_text, "prompt", values, faults)
    if prompt is None:
        prompt = _stored(given) if isinstance(given := values.get("prompt"), str) else ""
    texts = {name: _read(text, name, values, faults) for name in TEXTS}
    numbers = {name: _read(number, name, values, faults) for name in NUMBERS}
    n = 1 if numbers["n"] is None else numbers["n"]
    if not 1 <= n <= MOST_COPIES:
        faults.append(f"n must be between 1 and {MOST_COPIES}, got {n}")
        n = 1
    negative = texts["negative_prompt"]
    sampling = {name: numbers[name] for name in ("guidance", "temperature", "top_k", "top_p")}
    content = json.dumps([position, prompt, negative, *sampling.values()]).encode()
    name = texts["id"] or hashlib.blake2b(content, digest_size=12).hexdigest()
    seed = numbers["seed"]
    if seed is not None and not 0 <= seed < 2**63 - n:
        faults.append(f"seed must be between 0 and 2**63 - 1 - n, got {seed}")
        seed = None
    if seed is None:
        mixed = hashlib.blake2b(content, digest_size=8, key=str(base_seed).encode()).digest()
        seed = int.from_bytes(mixed) >> 64 - SEED_BITS
    for copy in range(n):
        yield PromptRow(
            id=f"{name}-{copy}" if n > 1 else name,
            item=name,
            copy=copy,
            prompt=prompt,
            negative_prompt=negative,
            seed=seed + copy,
            **sampling,
            size=texts["size"],
            output_format=texts["output_format"],
            output_compression=numbers["output_compression"],
            error="; ".join(faults) or None,
        )


def prompt_text(name: str, value: object) -> str:
    """A prompt as it can be stored; numbers are prompts, too. ValueError where it is none."""
    if value is None or value != value:
        raise ValueError("the prompt is missing")
    if isinstance(value, bool) or not isinstance(value, (str, int, float, Decimal)):
        raise ValueError(f"the {name} must be text, got {value!r:.60}")
    found = value if isinstance(value, str) else _number_text(value)
    if not found.strip():
        raise ValueError("the prompt is empty: say what the image should show")
    if _stored(found) != found:
        raise ValueError(f"the {name} is not Unicode: it has lone surrogates")
    return found


def text(name: str, value: object) -> str | None:
    """Text, or a number as text; None where it is missing. ValueError where it is neither."""
    if value is None or value == "" or value != value:
        return None
    if isinstance(value, bool) or not isinstance(value, (str, int, float, Decimal)):
        raise ValueError(f"{name} must be text, got {value!r:.60}")
    if not isinstance(value, str):
        return _number_text(value)
    whole = WHOLE_FLOAT.fullmatch(value) if name == "id" else None
    return whole[1] if whole else _stored(value)


def number(name: str, value: object) -> int | float | None:
    """A number of the field's kind from text or number; None where it is missing. ValueError where
    it is none."""
    whole = name in WHOLE_NUMBERS
    if isinstance(value, str) and value.strip().casefold() in MISSING:
        return None
    if value is None or value != value:
        return None
    if isinstance(value, (str, int, float, Decimal)) and not isinstance(value, bool):
        found = _parsed(value)
        if not whole and math.isfinite(found):
            return float(found)
        if whole and abs(found) < 2**63 and found == int(found):
            return int(found)
    raise ValueError(f"{name} must be {'a whole' if whole else 'a'} number, got {value!r:.60}")


def _read(
    reader: Callable[[str, object], Any], name: str, values: Mapping[str, Any], faults: list[str]
) -> Any:
    """A value, or None and one more of the faults."""
    try:
        return reader(name, values.get(name))
    except ValueError as error:
        faults.append(str(error))
        return None


def _parsed(value: str | float | Decimal) -> float | int | Decimal:
    """Infinity where text is no number."""
    if not isinstance(value, str):
        return value
    for kind in (int, float):
        try:
            return kind(value)
        except ValueError:
            continue
    return math.inf


def _number_text(value: float | Decimal) -> str:
    return str(int(value)) if math.isfinite(value) and value == int(value) else str(value)


def _stored(text: str) -> str:
    """The text as UTF-8 can hold it: JSON can have half a character."""
    return text.encode("utf-8", "replace").decode()
