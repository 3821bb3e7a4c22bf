"""Shots: the pictures of a run folder one after the other, as those need them who copy them out."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from hawk.batch.inspection import manifest_of, parts
from hawk.prompts.kept_columns import original
from hawk.storage.folder import Folder

ROWS_AT_ONCE = 64
ROW = (
    "id", "item", "copy", "prompt", "negative_prompt", "seed", "width", "height", "model",
    "model_revision", "drafter", "rule", "exact", "sampler", "tokens_sha256", "error",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class RunRow:
    """A row of a run.

    Attributes:
        index: Index of the row in the run.
        item_index: Index of its item among those of the input.
        row: Columns of the row, without those of the input and the picture.
        given: Columns of the input by their names there, without prompt and id.
        data: File of the picture; None where it was not made, or not asked for.
    """

    index: int
    item_index: int
    row: dict[str, Any]
    given: dict[str, Any]
    data: bytes | None

    @property
    def id(self) -> str:
        return self.row["id"]

    @property
    def item(self) -> str:
        """Id of the row of the input; `id` has the number of the copy, too."""
        return self.row["item"]

    @property
    def copy(self) -> int:
        return self.row["copy"]

    @property
    def format(self) -> str:
        """png, jpeg or webp, by the first bytes of the file."""
        beginning = (self.data or b"")[:4]
        return {b"RIFF": "webp", b"\x89PNG": "png"}.get(beginning, "jpeg")


def run_rows(folder: Folder, *, pictures: bool = True) -> Iterator[RunRow]:
    """All rows in order. ValueError where the folder holds no run, or a file is damaged.

    Args:
        pictures: True to read the pictures, too.
    """
    manifest_of(folder)
    index, items, item = 0, -1, None
    for name in parts(folder):
        try:
            with folder.open(name) as file:
                for row, given, data in _rows(pq.ParquetFile(file), pictures=pictures):
                    items += row["item"] != item
                    item = row["item"]
                    yield RunRow(index=index, item_index=items, row=row, given=given, data=data)
                    index += 1
        except (OSError, pa.ArrowException) as error:
            raise ValueError(
                f"{folder.url}/{name} is damaged ({error}): the same hawk batch makes it again"
            ) from error


def _rows(
    file: pq.ParquetFile, *, pictures: bool
) -> Iterator[tuple[dict[str, Any], dict[str, Any], bytes | None]]:
    schema = file.schema_arrow
    ours = [name for name in ROW if name in schema.names]
    notes = {field.name: note for field in schema if (note := original(field))}
    columns = [*ours, *notes, *(["image"] if pictures else [])]
    for batch in file.iter_batches(batch_size=ROWS_AT_ONCE, columns=columns):
        for values in batch.to_pylist():
            row = {name: values[name] for name in ours}
            image = values.get("image")
            # The first runs did not tell items from images.
            yield (
                {"item": row["id"], "copy": 0} | row,
                _given(values, notes),
                image["bytes"] if image else None,
            )


def _given(values: dict[str, Any], notes: dict[str, tuple[str, bool]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for column, (name, is_json) in notes.items():
        value = values[column]
        if value is not None:
            found[name] = json.loads(value) if is_json else value
    return found


def check_names(names: Sequence[str], ids: Sequence[str]) -> None:
    """ValueError where a name is none that a file can have, or two are the same.

    Args:
        ids: Ids of the rows that the names are for.
    """
    seen: dict[str, str] = {}
    for name, row in zip(names, ids, strict=True):
        steps = name.split("/")
        fine = all(0 < len(step.encode()) <= 255 and step not in (".", "..") for step in steps)
        if not fine or any(ord(character) < 32 or character == "\\" for character in name):
            raise ValueError(
                f"row {row!r} would be in a file {name!r:.100}, and files cannot be called so: "
                f"choose another --name, as '{{index:06d}}.png'"
            )
        other = seen.setdefault(name.casefold(), row)
        if other != row:
            raise ValueError(
                f"rows {other!r} and {row!r} would be in one file, {name!r}: choose another --name"
            )
