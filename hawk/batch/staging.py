"""Staging: checked prompts with ids and seeds, as one Parquet file."""

import hashlib
import json
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import accumulate
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from hawk.batch.schema import PROMPTS
from hawk.prompts.duplicates import Duplicates
from hawk.prompts.row_values import PromptRow, prompt_rows
from hawk.prompts.survey import GivenRow

GROUP_ROWS, GROUP_CHARACTERS = 8192, 2**24
LINE_BITS = 40
_StagedRow = tuple[PromptRow, tuple[Any, ...]]  # and the values of kept columns


class Staged:
    """The rows of a job, in order. ValueError, with the lines, where two have the same id.

    Args:
        file: File for the rows, which has to stay open.
        entries: Rows as they were given.
        files: Names of the prompt files, for messages.
        seed: Seed of the job, mixed into the seeds of rows that have none.
        fields: Arrow fields of the columns that entries keep.

    Attributes:
        rows: Number of rows, every copy counted.
        merged: Number of entries that repeat the one before them.
        fields: Arrow fields of the kept columns.
        fingerprint: Fingerprint of all that is in the rows.
        guidances: Guidance values of the rows; None stands for rows without.
    """

    def __init__(
        self,
        file: BinaryIO,
        entries: Iterable[GivenRow],
        files: Sequence[str],
        *,
        seed: int,
        fields: Sequence[pa.Field] = (),
    ) -> None:
        self.rows = self.merged = 0
        self.fields = list(fields)
        self.guidances: set[float | None] = set()
        self._files = files
        ids = Duplicates()
        digest = hashlib.sha256()
        schema = pa.schema([*PROMPTS, *fields])
        if fields:
            digest.update(schema.to_string().encode())
        with pq.ParquetWriter(file, schema) as writer:
            for group in _groups(self._checked(entries, seed, ids)):
                rows = [[*row, *kept] for row, kept in group]
                digest.update(json.dumps(rows, default=str).encode())
                columns = zip(*rows, strict=True)
                arrays = [
                    pa.array(list(column), field.type)
                    for column, field in zip(columns, schema, strict=True)
                ]
                writer.write_table(pa.Table.from_arrays(arrays, schema=schema))
        if not self.rows:
            raise ValueError(f"no prompts in {', '.join(files)}")
        self.fingerprint = digest.hexdigest()
        self._parquet = pq.ParquetFile(file)
        metadata = self._parquet.metadata
        sizes = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
        self._starts = [0, *accumulate(sizes)]
        self._refuse_twice(ids)

    def slice(self, start: int, stop: int) -> pa.Table:
        """Rows `start` to `stop`, which is not included."""
        first = bisect_right(self._starts, start) - 1
        last = bisect_right(self._starts, stop - 1) - 1
        table = self._parquet.read_row_groups(list(range(first, last + 1)))
        return table.slice(start - self._starts[first], stop - start).combine_chunks()

    def _checked(
        self, entries: Iterable[GivenRow], seed: int, ids: Duplicates
    ) -> Iterator[_StagedRow]:
        for position, entry in enumerate(self._once(entries)):
            for row in prompt_rows(entry.values, position, seed, entry.error):
                ids.add(row.id, entry.file << LINE_BITS | entry.line)
                self.guidances.add(row.guidance)
                self.rows += 1
                yield row, entry.kept

    def _once(self, entries: Iterable[GivenRow]) -> Iterator[GivenRow]:
        """Entries, one for those in a row that have the same id and ask for the same: DPG-Bench has
        a line a question. What else they keep stays as far as they agree."""
        held: GivenRow | None = None
        for entry in entries:
            if held and _given(held.values.get("id")) and entry.values == held.values:
                self.merged += 1
                agreed = zip(held.kept, entry.kept, strict=True)
                held = replace(held, kept=tuple(a if a == b else None for a, b in agreed))
                continue
            if held:
                yield held
            held = entry
        if held:
            yield held

    def _refuse_twice(self, ids: Duplicates) -> None:
        for numbers in ids.suspects():
            name, again = (self.slice(number, number + 1)["id"][0].as_py() for number in numbers)
            if name == again:
                first, second = (
                    f"{self._files[place >> LINE_BITS]}, line {place & (1 << LINE_BITS) - 1}"
                    for place in map(ids.place, numbers)
                )
                raise ValueError(f"id {name!r} is twice in the input: {first}, and {second}")


def _given(name: Any) -> bool:
    return name is not None and name != "" and name == name


def _groups(rows: Iterable[_StagedRow]) -> Iterator[list[_StagedRow]]:
    group: list[_StagedRow] = []
    characters = 0
    for row, kept in rows:
        group.append((row, kept))
        characters += len(row.prompt)
        if len(group) == GROUP_ROWS or characters > GROUP_CHARACTERS:
            yield group
            group, characters = [], 0
    if group:
        yield group
