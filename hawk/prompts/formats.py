"""Formats: files of every kind as tables, on disk or S3, compressed or not."""

import contextlib
import csv
import io
import itertools
from collections.abc import Collection, Generator, Iterator
from contextlib import ExitStack
from pathlib import PurePosixPath
from typing import TextIO

import pyarrow as pa
import pyarrow.parquet as pq

from hawk.prompts import delimited, json_files
from hawk.prompts.columns import PROMPT_NAMES
from hawk.prompts.lines import prompt_lines
from hawk.prompts.tables import MalformedError, Table, TableRow, refuse_twice
from hawk.storage.folder import Location, StorageError

KINDS = (".txt", ".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".parquet")
COMPRESSED = {".gz": "gzip", ".zst": "zstd", ".bz2": "bz2"}  # behind all of them but Parquet
ROWS_AT_ONCE = 1024
# What reading a damaged file raises: arrow takes a wrong type for one that it cannot read yet.
DAMAGE = (
    UnicodeDecodeError,
    csv.Error,
    RecursionError,
    pa.ArrowInvalid,
    pa.ArrowNotImplementedError,
)


def kind_of(path: str) -> str | None:
    """The kind of a file by its name; None where it cannot be read."""
    inner, compression = _split(path)
    kind = PurePosixPath(inner).suffix.lower()
    return None if kind not in KINDS or (compression and kind == ".parquet") else kind


@contextlib.contextmanager
def opened(
    location: Location, path: str, name: str, columns: Collection[str] | None = None
) -> Generator[Table]:
    """A file as a table. ValueError, with file and line, where it is malformed, also in the block.

    Args:
        name: Path below the input; without its suffix the id of a text file's only prompt.
        columns: Columns that will be read, where a format can leave out others; None for all.
    """
    kind = kind_of(path)
    try:
        with ExitStack() as open_files:
            if kind == ".parquet":
                stream = location.filesystem.open_input_file(path)
                yield _parquet(open_files.enter_context(stream), columns)
            else:
                yield _table(location, path, name, open_files)
    except DAMAGE as error:
        what = "UTF-8 text" if isinstance(error, UnicodeDecodeError) else kind
        raise ValueError(f"{path} is not {what}: {error}") from error
    except MalformedError as error:
        raise ValueError(f"{path}, {error}") from error
    except OSError as error:
        if error.errno is not None:  # the disk's own, which name the file
            raise
        kind_of_error = ValueError if location.local else StorageError
        raise kind_of_error(f"{path} cannot be read: {error}") from error


def _table(location: Location, path: str, name: str, open_files: ExitStack) -> Table:
    def text(newline: str | None = None) -> TextIO:
        return open_files.enter_context(_text(location, path, newline))

    match kind_of(path):
        case ".txt":
            return _prompts(location, path, name, open_files)
        case ".csv":
            return delimited.read_csv(text(""))
        case ".tsv":
            return delimited.read_tsv(lambda: text(""))
        case ".json":
            return json_files.read_document(text(), PROMPT_NAMES)
        case _:
            return json_files.read_lines(text(), PROMPT_NAMES)


def _split(path: str) -> tuple[str, str | None]:
    """A path without the suffix of its compression, and what that is."""
    suffix = PurePosixPath(path).suffix
    compression = COMPRESSED.get(suffix.lower())
    return (path.removesuffix(suffix), compression) if compression else (path, None)


def _bytes(location: Location, path: str) -> io.BufferedReader:
    _, compression = _split(path)
    stream = location.filesystem.open_input_stream(path, compression=compression)
    return io.BufferedReader(stream)  # type: ignore[arg-type]


def _text(location: Location, path: str, newline: str | None) -> TextIO:
    return io.TextIOWrapper(_bytes(location, path), "utf-8-sig", newline=newline)


def _prompts(location: Location, path: str, name: str, open_files: ExitStack) -> Table:
    """A prompt a line; where a file has one only, the file's name is its id."""
    lines = prompt_lines(open_files.enter_context(_bytes(location, path)))
    first = list(itertools.islice(lines, 2))
    if len(first) == 1:
        line, prompt = first[0]
        item = str(PurePosixPath(_split(name)[0]).with_suffix(""))
        only = TableRow(line=line, asked={"prompt": prompt, "id": item})
        return Table(names=(), rows=iter([only]), prompts=True)
    rows = (
        TableRow(line=line, asked={"prompt": prompt})
        for line, prompt in itertools.chain(first, lines)
    )
    return Table(names=(), rows=rows, prompts=True)


def _parquet(stream: pa.NativeFile, columns: Collection[str] | None) -> Table:
    file = pq.ParquetFile(stream)
    types = dict(zip(file.schema_arrow.names, file.schema_arrow.types, strict=True))
    refuse_twice(file.schema_arrow.names)
    wanted = [name for name in types if columns is None or name in columns]

    def rows() -> Iterator[TableRow]:
        line = 0
        for batch in file.iter_batches(batch_size=ROWS_AT_ONCE, columns=wanted):
            for values in zip(*batch.columns, strict=True):
                line += 1
                yield TableRow(line=line, values=dict(zip(batch.schema.names, values, strict=True)))

    return Table(names=tuple(types), rows=rows(), types=types)
