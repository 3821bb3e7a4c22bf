"""Inputs: prompts of every accepted kind as a stream of plain dictionaries."""

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.fs
import pyarrow.parquet as pq

from jobs.batch.storage import Location

COLUMNS = (
    "prompt", "id", "seed", "n", "negative_prompt", "guidance", "temperature", "top_k", "top_p",
)  # fmt: skip
OPENAI_NAMES = {"guidance_scale": "guidance"}  # fields of `body` that are called otherwise here
LONGEST_FIELD = 2**31 - 1  # csv's own limit of 128 KiB would refuse long prompts
ROWS_AT_ONCE = 1024


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One row as it was given.

    Attributes:
        file: its place among the files of the input.
        line: 1-based; in Parquet the row's number.
        values: by column; columns that Hawk does not know included.
    """

    file: int
    line: int
    values: dict[str, Any]


def find(location: Location) -> list[str]:
    """Paths of the input files in order of their names: one file, a folder's, or a glob's.

    FileNotFoundError where there is none, ValueError for a kind that cannot be read.
    """
    path = location.path
    if "*" in path or "?" in path:
        folder = path[: min(path.find(c) for c in "*?" if c in path)].rpartition("/")[0]
        found = [p for p in _below(location, folder) if PurePosixPath(p).match(path)]
    elif location.filesystem.get_file_info(path).type == pyarrow.fs.FileType.Directory:
        found = [p for p in _below(location, path) if _suffix(p) in READERS]
    elif location.filesystem.get_file_info(path).type == pyarrow.fs.FileType.File:
        found = [path]
    else:
        raise FileNotFoundError(f"no file or folder {location.url}")
    if not found:
        raise FileNotFoundError(f"no {', '.join(READERS)} files in {location.url}")
    for file in found:
        if _suffix(file) not in READERS:
            raise ValueError(f"{file} is none of {', '.join(READERS)}: convert it, or rename it")
    return found


def read(location: Location, files: Sequence[str]) -> Iterator[Entry]:
    """All rows of the files, streamed. ValueError, with file and line, where one is malformed."""
    for number, path in enumerate(files):
        with location.filesystem.open_input_file(path) as stream:
            try:
                for line, values in READERS[_suffix(path)](stream):
                    yield Entry(file=number, line=line, values=values)
            except (UnicodeDecodeError, csv.Error, pa.ArrowInvalid) as error:
                kind = "UTF-8 text" if isinstance(error, UnicodeDecodeError) else _suffix(path)
                raise ValueError(f"{path} is not {kind}: {error}") from error
            except _MalformedError as error:
                raise ValueError(f"{path}, {error}") from error


class _MalformedError(Exception):
    """Says what is wrong with a file, without its name."""


def _below(location: Location, folder: str) -> list[str]:
    selector = pyarrow.fs.FileSelector(folder or ".", recursive=True, allow_not_found=True)
    infos = location.filesystem.get_file_info(selector)
    hidden = ("_", ".")
    return sorted(
        info.path
        for info in infos
        if info.type == pyarrow.fs.FileType.File and not info.base_name.startswith(hidden)
    )


def _suffix(path: str) -> str:
    return PurePosixPath(path).suffix.lower()


def _text(stream: pa.NativeFile, newline: str | None) -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BufferedReader(stream), "utf-8-sig", newline=newline)  # type: ignore[arg-type]


def _read_txt(stream: pa.NativeFile) -> Iterator[tuple[int, dict[str, Any]]]:
    """A prompt a line; blank lines are passed over."""
    for line, text in enumerate(_text(stream, None), start=1):
        if text.strip():
            yield line, {"prompt": text.strip()}


def _read_csv(stream: pa.NativeFile) -> Iterator[tuple[int, dict[str, Any]]]:
    csv.field_size_limit(LONGEST_FIELD)
    reader = csv.DictReader(_text(stream, ""), strict=True)
    names = [name.strip() for name in reader.fieldnames or []]
    _require_prompt(names)
    reader.fieldnames = names
    for row in reader:
        if None in row:
            raise _MalformedError(f"line {reader.line_num}: more fields than the header has")
        yield reader.line_num, {str(name): value for name, value in row.items()}


def _read_jsonl(stream: pa.NativeFile) -> Iterator[tuple[int, dict[str, Any]]]:
    """A JSON object a line; those of the OpenAI Batch API have the prompt in `body`."""
    for line, text in enumerate(_text(stream, "\n"), start=1):
        if not text.strip():
            continue
        try:
            row = json.loads(text)
        except ValueError as error:
            raise _MalformedError(f"line {line}: not JSON ({error})") from error
        if not isinstance(row, dict):
            raise _MalformedError(f"line {line}: not a JSON object: {text[:40]!r}")
        yield line, _from_openai(row) if isinstance(row.get("body"), dict) else row


def _from_openai(row: dict[str, Any]) -> dict[str, Any]:
    body: dict[str, Any] = {
        OPENAI_NAMES.get(str(name), str(name)): value for name, value in row["body"].items()
    }
    return body | {"id": row.get("custom_id")}


def _read_parquet(stream: pa.NativeFile) -> Iterator[tuple[int, dict[str, Any]]]:
    file = pq.ParquetFile(stream)
    names = file.schema_arrow.names
    _require_prompt(names)
    known = [name for name in names if name in COLUMNS]
    line = 0
    for batch in file.iter_batches(batch_size=ROWS_AT_ONCE, columns=known):
        for row in batch.to_pylist():
            line += 1
            yield line, row


def _require_prompt(names: Sequence[str]) -> None:
    if "prompt" not in names:
        have = ", ".join(map(repr, names)) or "none"
        raise _MalformedError(f"no column 'prompt': it has {have}")


READERS = {
    ".txt": _read_txt,
    ".csv": _read_csv,
    ".jsonl": _read_jsonl,
    ".parquet": _read_parquet,
}
