"""Tables: what files of every kind are read as."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa


class MalformedError(Exception):
    """Says what is wrong with a file, without its name."""


@dataclass(frozen=True, kw_only=True)
class TableRow:
    """One row as it was given.

    Attributes:
        line: Line of the file, from 1; in Parquet and JSON the row's number.
        values: Values by column.
        asked: Values by the names of batch jobs, where a format says what they are.
        error: Reason why nothing can be made of it.
    """

    line: int
    values: Mapping[str, Any] = field(default_factory=dict)
    asked: Mapping[str, Any] = field(default_factory=dict)
    error: str | None = None


@dataclass(frozen=True, kw_only=True)
class Table:
    """A file as a table.

    Attributes:
        names: Names of its columns; in JSON those of the first rows.
        rows: Stream of the rows, to be read once.
        types: Types of Parquet's columns, whose values are Arrow scalars; those of other files are
            what Python reads.
        text: True where all values are text, whatever it says.
        prompts: True where rows bring their prompts, whatever the columns are called.
    """

    names: Sequence[str]
    rows: Iterator[TableRow]
    types: Mapping[str, pa.DataType] = field(default_factory=dict)
    text: bool = False
    prompts: bool = False


def refuse_twice(names: Sequence[str]) -> None:
    """MalformedError where two columns have one name."""
    twice = sorted({name for name in names if name and names.count(name) > 1})
    if twice:
        raise MalformedError(f"two columns are called {twice[0]!r}: rename one")
