"""Staging: checked prompts with ids and seeds, as one Parquet file."""

import hashlib
import json
import math
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from jobs.batch.ids import Ids
from jobs.batch.inputs import COLUMNS, Entry
from jobs.batch.schema import PROMPTS

MOST_COPIES = 10_000
SEED_BITS = 53  # whole in JSON and in a pandas float column
GROUP_ROWS, GROUP_CHARACTERS = 8192, 2**24
LINE_BITS = 40


class Staged:
    """The rows of a job, in order. ValueError, with the lines, where two have the same id.

    Args:
        file: takes the rows; it has to stay open.
        entries: as they were given.
        files: their names, for messages.
        seed: goes into the seeds of rows that have none.

    Attributes:
        rows: how many, every copy counted.
        fingerprint: of all that is in them.
        unused: columns that were given and mean nothing here.
        guidances: those given; None stands for rows without.
    """

    def __init__(
        self, file: BinaryIO, entries: Iterable[Entry], files: Sequence[str], *, seed: int
    ) -> None:
        self.rows = 0
        self.unused: set[str] = set()
        self.guidances: set[float | None] = set()
        self._files = files
        ids = Ids()
        digest = hashlib.sha256()
        with pq.ParquetWriter(file, PROMPTS) as writer:
            for group in _groups(self._checked(entries, seed, ids)):
                digest.update(json.dumps(group).encode())
                columns = zip(*group, strict=True)
                arrays = [
                    pa.array(list(column), field.type)
                    for column, field in zip(columns, PROMPTS, strict=True)
                ]
                writer.write_table(pa.Table.from_arrays(arrays, schema=PROMPTS))
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

    def _checked(self, entries: Iterable[Entry], seed: int, ids: Ids) -> Iterator[list[Any]]:
        for position, entry in enumerate(entries):
            self.unused.update(entry.values.keys() - set(COLUMNS))
            for row in checked(entry.values, position, seed):
                ids.add(row[0], entry.file << LINE_BITS | entry.line)
                self.guidances.add(row[4])
                self.rows += 1
                yield row

    def _refuse_twice(self, ids: Ids) -> None:
        for numbers in ids.suspects():
            name, again = (self.slice(number, number + 1)["id"][0].as_py() for number in numbers)
            if name == again:
                first, second = (
                    f"{self._files[place >> LINE_BITS]}, line {place & (1 << LINE_BITS) - 1}"
                    for place in map(ids.place, numbers)
                )
                raise ValueError(f"id {name!r} is twice in the input: {first}, and {second}")


def _groups(rows: Iterable[list[Any]]) -> Iterator[list[list[Any]]]:
    group: list[list[Any]] = []
    characters = 0
    for row in rows:
        group.append(row)
        characters += len(row[1])
        if len(group) == GROUP_ROWS or characters > GROUP_CHARACTERS:
            yield group
            group, characters = [], 0
    if group:
        yield group


def checked(values: dict[str, Any], position: int, base_seed: int) -> Iterator[list[Any]]:
    """Rows in the order of `PROMPTS`, one for each of the `n` images.

    A row whose values make no sense stays one row, with `error`.
    """
    prompt, error = _prompt(values.get("prompt"))
    numbers: dict[str, Any] = dict.fromkeys(
        ("seed", "n", "guidance", "temperature", "top_k", "top_p")
    )
    negative = None
    try:
        numbers = {name: _number(name, values.get(name)) for name in numbers}
        negative = _text("negative_prompt", values.get("negative_prompt"))
        name = _text("id", values.get("id"))
    except ValueError as problem:
        name, error = None, error or str(problem)
        numbers = dict.fromkeys(numbers)
    n = 1 if numbers["n"] is None else numbers["n"]
    if not 1 <= n <= MOST_COPIES:
        n, error = 1, error or f"n must be between 1 and {MOST_COPIES}, got {n}"
    rest = [numbers["guidance"], numbers["temperature"], numbers["top_k"], numbers["top_p"]]
    content = json.dumps([position, prompt, negative, *rest]).encode()
    name = name or hashlib.blake2b(content, digest_size=12).hexdigest()
    seed = numbers["seed"]
    if seed is None:
        mixed = hashlib.blake2b(content, digest_size=8, key=str(base_seed).encode()).digest()
        seed = int.from_bytes(mixed) >> 64 - SEED_BITS
    elif not 0 <= seed < 2**63 - n:
        seed, error = 0, error or f"seed must be between 0 and 2**63 - 1 - n, got {seed}"
    for copy in range(n):
        yield [f"{name}-{copy}" if n > 1 else name, prompt, negative, seed + copy, *rest, error]


def _prompt(value: object) -> tuple[str, str | None]:
    """The prompt as it can be stored, and what is wrong with it."""
    if not isinstance(value, str):
        return "", f"the prompt must be text, got {value!r:.60}"
    if not value.strip():
        return value, "the prompt is empty: say what the image should show"
    stored = value.encode("utf-8", "replace").decode()
    return stored, None if stored == value else "the prompt is not Unicode: it has lone surrogates"


def _text(name: str, value: object) -> str | None:
    if value is None or value == "":
        return None
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise ValueError(f"{name} must be text, got {value!r:.60}")
    return str(value).encode("utf-8", "replace").decode()


def _number(name: str, value: object) -> int | float | None:
    """A number of the column's kind from text or number; None for nothing or NaN."""
    whole = name in ("seed", "n", "top_k")
    if value is None or (isinstance(value, str) and not value.strip()) or value != value:
        return None
    if isinstance(value, (str, int, float)) and not isinstance(value, bool):
        try:
            number = int(value) if whole and not isinstance(value, float) else float(value)
        except ValueError:
            number = math.inf
        if not whole and math.isfinite(number):
            return number
        if whole and abs(number) < 2**63 and number == int(number):
            return int(number)
    raise ValueError(f"{name} must be {'a whole' if whole else 'a'} number, got {value!r:.60}")
