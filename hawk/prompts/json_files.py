"""JSON files as tables: objects in lines, or in one of the shapes that prompt sets have."""

import itertools
import json
from collections.abc import Iterable, Iterator
from typing import Any, TextIO

from hawk.prompts import batch_api
from hawk.prompts.tables import MalformedError, Table, TableRow

SAMPLE_ROWS = 1024  # that are read ahead, to learn the columns
SHAPES = (
    "an array of objects or texts, an object with such an array (COCO's `annotations`), an object "
    "of objects or texts by id, or an object of columns"
)


def read_lines(text: TextIO, prompt_names: Iterable[str]) -> Table:
    """A JSON object or a text a line; requests of OpenAI's Batch API are understood."""
    return _table(_from_lines(text, next(iter(prompt_names))))


def read_document(text: TextIO, prompt_names: Iterable[str]) -> Table:
    """The rows of a JSON document in one of `SHAPES`.

    Args:
        prompt_names: Names of columns with prompts; the first is given to texts without a name.
    """
    names = tuple(prompt_names)
    try:
        content = json.load(text)
    except UnicodeDecodeError:
        raise
    except ValueError as error:
        raise MalformedError(f"not JSON: {error}") from error
    rows = (_row(number, item, names[0]) for number, item in enumerate(_items(content, names), 1))
    return _table(rows)


def _from_lines(text: TextIO, prompt: str) -> Iterator[TableRow]:
    for line, raw in enumerate(text, start=1):
        if not raw.strip():
            continue
        try:
            yield _row(line, json.loads(raw), prompt)
        except (ValueError, RecursionError) as error:
            raise MalformedError(f"line {line}: not JSON ({error})") from error


def _row(line: int, item: object, prompt: str) -> TableRow:
    if isinstance(item, str):
        return TableRow(line=line, values={prompt: item})
    if not isinstance(item, dict):
        raise MalformedError(f"line {line}: not a JSON object: {json.dumps(item)[:40]}")
    if batch_api.is_request(item):
        return batch_api.read(line, item)
    return TableRow(line=line, values={_stored(str(name)): value for name, value in item.items()})


def _stored(name: str) -> str:
    """A column's name as UTF-8 can hold it, as values are: JSON can have half a character."""
    return name.encode("utf-8", "replace").decode()


def _table(rows: Iterator[TableRow]) -> Table:
    sample = list(itertools.islice(rows, SAMPLE_ROWS))
    names = list(dict.fromkeys(name for row in sample for name in row.values))
    prompts = any("prompt" in row.asked for row in sample)
    return Table(names=names, rows=itertools.chain(sample, rows), prompts=prompts)


def _items(content: object, prompt_names: tuple[str, ...]) -> Iterable[object]:
    if isinstance(content, list):
        return content
    if not isinstance(content, dict):
        raise MalformedError(f"not a set of prompts: give {SHAPES}")
    prompts = next((v for name, v in content.items() if name.casefold() in prompt_names), None)
    if isinstance(prompts, str):
        return [content]
    if isinstance(prompts, (list, dict)):
        return _from_columns(content, prompts)
    return _from_object(content, prompt_names[0])


def _from_columns(content: dict[str, Any], prompts: list[Any] | dict[str, Any]) -> list[object]:
    """Rows of a document that has a list, or an object by row, for every column."""
    places: Iterable[Any] = range(len(prompts)) if isinstance(prompts, list) else list(prompts)
    columns: dict[Any, Any] = {
        name: value
        for name, value in content.items()
        if type(value) is type(prompts) and len(value) == len(prompts)
    }
    try:
        return [{name: value[at] for name, value in columns.items()} for at in places]
    except KeyError as error:
        raise MalformedError(f"its columns have other rows: {error} is not in all") from error


def _from_object(content: dict[str, Any], prompt: str) -> Iterable[object]:
    """Rows under a name of their own: as one array, or each with its id for a name."""
    arrays = {name: value for name, value in content.items() if _has_rows(value)}
    if "annotations" in arrays or len(arrays) == 1:
        return arrays.get("annotations") or next(iter(arrays.values()))
    if content and all(isinstance(value, dict) for value in content.values()):
        return [{"id": name} | value for name, value in content.items()]
    if content and all(isinstance(value, str) for value in content.values()):
        return [{"id": name, prompt: value} for name, value in content.items()]
    raise MalformedError(f"not a set of prompts: give {SHAPES}")


def _has_rows(value: object) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], (dict, str))
