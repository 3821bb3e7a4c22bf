"""Survey: what the files of a prompt set have, before a row of them is staged.

Files are opened one after the other: their columns are chosen, and where others are kept their
values are read through for a type that holds them all. What was taken is told in a line for all
files that are alike.
"""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from hawk.prompts.columns import ColumnChoice, choose, why_left
from hawk.prompts.formats import kind_of, opened
from hawk.prompts.inputs import PromptFiles
from hawk.prompts.kept_columns import KeptColumns
from hawk.prompts.tables import Table


@dataclass(frozen=True, kw_only=True)
class GivenRow:
    """One row as it was given.

    Attributes:
        file: Index of its file among those of the input.
        line: Line of the file, from 1; in Parquet and JSON the row's number.
        values: Values by the names of batch jobs.
        kept: Values of other columns, in the order of `Survey.fields`.
        error: Reason why nothing can be made of it.
    """

    file: int
    line: int
    values: Mapping[str, Any]
    kept: tuple[Any, ...] = ()
    error: str | None = None


@dataclass(frozen=True, kw_only=True)
class _Plan:
    """Columns that are taken of a file.

    Attributes:
        kind: Kind of the file.
        used: Pairs of a batch job's name and the column's own.
        kept: Names of columns that go to the output.
        left: Names of columns that are left, with the reason.
        named: True for a text file of one prompt, whose name is its id.
    """

    kind: str
    used: tuple[tuple[str, str], ...] = ()
    kept: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    named: bool = False

    def describe(self) -> str:
        if self.named:
            return "one prompt a file, its name is the id"
        parts = [f"{ours} is {name!r}" for ours, name in self.used]
        parts += [f"kept: {', '.join(map(repr, self.kept))}"] if self.kept else []
        parts += [f"not kept: {', '.join(self.left)}"] if self.left else []
        return "; ".join(parts)


class Survey:
    """All files of an input, looked at.

    ValueError, with file and line, where one is malformed or has no prompts.

    Attributes:
        files: Paths of the files.
        fields: Arrow fields of the columns that are kept.
        notes: Sentences about what was taken and what was not.
    """

    def __init__(self, found: PromptFiles, wanted: ColumnChoice) -> None:
        self._found, self._wanted, self._kept = found, wanted, KeptColumns()
        self.files = found.files
        self._plans = [self._look(number) for number in range(len(found.files))]
        self.fields = self._kept.settle()
        missing = sorted({*(wanted.kept or [])} - {*self._kept.names})
        if missing:
            raise ValueError(f"no column {missing[0]!r} to keep in {found.location.url}")
        self.notes = [note for note in (found.note, *self._told()) if note]

    def entries(self) -> Iterator[GivenRow]:
        """All rows, streamed. ValueError, with file and line, where a file is malformed."""
        order = self._kept.names
        for number, plan in enumerate(self._plans):
            with self._open(number, {*dict(plan.used).values(), *plan.kept}) as table:
                for row in table.rows:
                    values = {ours: _plain(row.values.get(name)) for ours, name in plan.used}
                    values |= row.asked
                    yield GivenRow(
                        file=number,
                        line=row.line,
                        values=values,
                        kept=tuple(self._kept.value(n, row.values.get(n)) for n in order),
                        error=row.error,
                    )

    def _open(
        self, number: int, columns: Collection[str] | None = None
    ) -> AbstractContextManager[Table]:
        found = self._found
        return opened(found.location, found.files[number], found.names[number], columns)

    def _look(self, number: int) -> _Plan:
        path = self._found.files[number]
        kind = kind_of(path) or ""
        with self._open(number) as table:
            if kind == ".txt":
                only = next(table.rows, None)
                return _Plan(kind=kind, named=only is not None and "id" in only.asked)
            try:
                used = choose(table.names, self._wanted, prompts=table.prompts)
            except LookupError as error:
                raise ValueError(f"{path}, {error.args[0]}") from error
            read = self._typed if table.types else self._untyped
            kept = read(table, {*used.values()})
        reasons = {name: why_left(name, table.types.get(name)) for name in table.names}
        left = [
            repr(name) + (f" ({reasons[name]})" if reasons[name] else "")
            for name in table.names
            if name not in used.values() and name not in kept
        ]
        return _Plan(kind=kind, used=tuple(used.items()), kept=tuple(kept), left=tuple(left))

    def _typed(self, table: Table, used: set[str]) -> list[str]:
        kept = [
            name
            for name, kind in table.types.items()
            if name not in used and self._wanted.keeps(name, kind)
        ]
        for name in kept:
            self._kept.see_type(name, table.types[name])
        return kept

    def _untyped(self, table: Table, used: set[str]) -> list[str]:
        """Reads all rows, as far as there is something to keep."""
        if table.text and not any(self._wanted.keeps(n) for n in table.names if n not in used):
            return []
        keeps: dict[str, bool] = {}
        for row in table.rows:
            for name, value in row.values.items():
                if name not in keeps:
                    keeps[name] = name not in used and self._wanted.keeps(name)
                if keeps[name]:
                    self._kept.see(name, value, text=table.text)
        return [name for name, kept in keeps.items() if kept]

    def _told(self) -> Iterator[str]:
        """A line for all files that are alike."""
        alike: defaultdict[_Plan, list[str]] = defaultdict(list)
        for plan, path in zip(self._plans, self.files, strict=True):
            alike[plan].append(path)
        for plan, paths in alike.items():
            told = plan.describe()
            if told:
                many = f"{len(paths)} {plan.kind} files" if len(paths) > 1 else paths[0]
                yield f"{many}: {told}"


def _plain(value: Any) -> Any:
    """A value as Python has it; what is not a number is missing."""
    if isinstance(value, pa.Scalar):
        value = value.as_py()
    return value if value == value else None
