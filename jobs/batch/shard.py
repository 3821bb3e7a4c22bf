"""Shard: one Parquet file of rows in their order, from rows that finish in any order."""

import contextlib
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from jobs.batch.schema import IMAGES
from jobs.batch.storage import Folder, writing

GROUP_ROWS, GROUP_BYTES = 256, 16 * 2**20
FOOTER = b"hawk"


@dataclass(kw_only=True)
class Counts:
    """What some rows came to.

    Attributes:
        rows, images: `rows` less `images` are those with an error.
        tokens, forwards: of the images.
        errors: rows by `error_type`.
    """

    rows: int = 0
    images: int = 0
    tokens: int = 0
    forwards: int = 0
    errors: dict[str, int] = field(default_factory=dict)

    def __iadd__(self, other: "Counts") -> "Counts":
        self.rows += other.rows
        self.images += other.images
        self.tokens += other.tokens
        self.forwards += other.forwards
        self.errors = dict(Counter(self.errors) + Counter(other.errors))
        return self

    @property
    def failed(self) -> int:
        return self.rows - self.images


class ShardWriter:
    """Collects the rows of one shard and writes them in row groups as their turn comes.

    Args:
        folder, name: of the file; nobody sees it before the last row is in.
        rows: how many there will be.
        job: fingerprint of the job, kept in the footer.
    """

    def __init__(self, folder: Folder, name: str, *, rows: int, job: str) -> None:
        self.name, self._rows, self._job = name, rows, job
        self.counts = Counts()
        self._early: dict[int, dict[str, Any]] = {}
        self._group: list[dict[str, Any]] = []
        self._next = 0
        with writing(name):
            self._draft = folder.draft(name)
            self._writer = pq.ParquetWriter(self._draft.file, IMAGES)

    def add(self, place: int, row: dict[str, Any], counts: Counts) -> bool:
        """Take the row of a place; True with the last one, when the file is there.

        StorageError where it cannot be written.
        """
        assert place >= self._next, f"row {place} came twice"
        self._early[place] = row
        self.counts += counts
        while self._next in self._early:
            self._group.append(self._early.pop(self._next))
            self._next += 1
        with writing(self.name):
            if self._next == self._rows:
                self._flush()
                self._close()
            elif self._full():
                self._flush()
        return self._next == self._rows

    def discard(self) -> None:
        """Give up: nothing is left."""
        with contextlib.suppress(OSError):  # a full disk complains once more
            self._writer.close()
        self._writer.is_open = False  # or it would try again when it is collected
        self._draft.discard()

    def _full(self) -> bool:
        image_bytes = sum(len(row["image"]["bytes"]) for row in self._group if row["image"])
        return len(self._group) >= GROUP_ROWS or image_bytes >= GROUP_BYTES

    def _flush(self) -> None:
        self._writer.write_table(pa.Table.from_pylist(self._group, schema=IMAGES))
        self._group = []

    def _close(self) -> None:
        footer = {"job": self._job, "counts": asdict(self.counts)}
        self._writer.add_key_value_metadata({FOOTER: json.dumps(footer)})
        self._writer.close()
        self._draft.publish()


def shard_name(index: int) -> str:
    return f"part-{index:05d}.parquet"


def read_counts(folder: Folder, name: str, *, rows: int, job: str) -> Counts | None:
    """Counts of a complete file of this job; None where it is broken, short, or of another."""
    with contextlib.suppress(OSError, pa.ArrowInvalid, KeyError, ValueError, TypeError):
        with folder.open(name) as file:
            metadata = pq.read_metadata(file)
        found: Mapping[str, Any] = json.loads((metadata.metadata or {})[FOOTER])
        if found["job"] == job and metadata.num_rows == rows:
            return Counts(**found["counts"])
    return None
