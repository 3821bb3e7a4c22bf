"""Delimited: CSV and TSV files as tables."""

import csv
import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TextIO

from hawk.prompts.tables import MalformedError, Table, TableRow, refuse_twice

LONGEST_FIELD = 2**31 - 1  # csv's own limit of 128 KiB would refuse long prompts
DELIMITERS = ",;\t"
_QUOTED = re.compile(r'"(?:[^"]|"")*"(?!")')
_CLOSED = re.compile(r'(?:[^"]|"")*"(?!")')
_BARE = re.compile(r'[^"\t]*')


def read_csv(text: TextIO) -> Table:
    """A record under a header, at commas, or at what divides the header into more columns."""
    header = text.readline()
    delimiter = max(DELIMITERS, key=header.count)
    return _quoted(itertools.chain([header], text), delimiter)


def read_tsv(reopen: Callable[[], TextIO]) -> Table:
    """A line of fields between tabs; quotes are text unless all of the file quotes as CSV does."""
    with reopen() as text:
        quoted = is_quoted(text)
    if quoted:
        return _quoted(reopen(), "\t")
    records = (line.rstrip("\r\n").split("\t") for line in reopen())
    return _table(enumerate(records, start=1))


def is_quoted(lines: Iterable[str]) -> bool:
    """Whether tab-separated fields with quotes in them are all quoted, their own quotes doubled."""
    found = within = False
    for line in lines:
        rest = line.rstrip("\r\n")
        while True:
            if within or rest.startswith('"'):
                match = (_CLOSED if within else _QUOTED).match(rest)
                within, found = match is None, True
                if match is None:
                    break  # the field goes on in the next line
            else:
                match = _BARE.match(rest)
                assert match is not None, "it matches nothing, too"
            rest = rest[match.end() :]
            if rest[:1] not in ("", "\t"):
                return False
            if not rest:
                break
            rest = rest[1:]
    return found and not within


def _quoted(lines: Iterable[str], delimiter: str) -> Table:
    csv.field_size_limit(LONGEST_FIELD)
    reader = csv.reader(lines, strict=True, delimiter=delimiter)
    return _table((reader.line_num, record) for record in reader)


def _table(records: Iterator[tuple[int, Sequence[str]]]) -> Table:
    names = next(([name.strip() for name in record] for _, record in records), [])
    refuse_twice(names)
    return Table(names=names, rows=_rows(names, records), text=True)


def _rows(names: Sequence[str], records: Iterator[tuple[int, Sequence[str]]]) -> Iterator[TableRow]:
    for line, record in records:
        if not any(record):
            continue
        if len(record) > len(names):
            raise MalformedError(f"line {line}: more fields than the header has")
        values: dict[str, Any] = dict(zip(names, record, strict=False))
        yield TableRow(line=line, values=values)
