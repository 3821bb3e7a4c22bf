"""Shard: one Parquet file of rows in their order, from rows that finish in any order."""

import contextlib
import io
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from hawk.batch import seal
from hawk.batch.schema import IMAGES
from hawk.storage import layout
from hawk.storage.folder import Folder, StorageError, patiently

GROUP_ROWS, GROUP_BYTES = 256, 16 * 2**20
FOOTER = b"hawk"


@dataclass(kw_only=True)
class Counts:
    """Counts of some rows.

    Attributes:
        rows, images: Number of rows, and of those with an image; the others have an error.
        tokens, forwards: Number of tokens and forwards of the images.
        errors: Number of rows by `error_type`.
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
        folder, name: Place of the file; nobody sees it before the last row is in.
        rows: Number of rows that there will be.
        job: Fingerprint of the job, kept in the footer.
        kept: Columns of the input that travel along, a row for each row.
    """

    def __init__(
        self, folder: Folder, name: str, *, rows: int, job: str, kept: pa.Table | None = None
    ) -> None:
        self._folder, self.name, self._rows, self._job = folder, name, rows, job
        self.counts, self._kept = Counts(), kept
        self._early: dict[int, dict[str, Any]] = {}
        self._group: list[dict[str, Any]] = []
        self._next = 0
        with folder.writing(name):
            self._draft = folder.begin(name)
            schema = pa.schema([*IMAGES, *(kept.schema if kept else ())], IMAGES.metadata)
            self._writer = pq.ParquetWriter(self._draft.file, schema)

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
        with self._folder.writing(self.name):
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
        table = pa.Table.from_pylist(self._group, schema=IMAGES)
        if self._kept is not None:
            kept = self._kept.slice(self._next - len(self._group), len(self._group))
            for field, column in zip(kept.schema, kept.columns, strict=True):
                table = table.append_column(field, column)
        self._writer.write_table(table)
        self._group = []

    def _close(self) -> None:
        footer = {"job": self._job, "counts": asdict(self.counts)}
        self._writer.add_key_value_metadata({FOOTER: json.dumps(footer), seal.KEY: seal.BLANK})
        self._writer.close()
        seal.seal(self._draft.file)
        if job_of(self._folder) not in (None, self._job):
            raise StorageError("another run has cleared the folder for another job")
        self._draft.publish()


def job_of(folder: Folder) -> str | None:
    """Fingerprint of the job that holds a folder; None where none is noted."""
    with contextlib.suppress(FileNotFoundError, ValueError):
        found: Any = json.loads(folder.read(layout.MANIFEST))
        return found["job"] if isinstance(found, dict) else None
    return None


def damage(folder: Folder, name: str, *, sealed: bool = True) -> str | None:
    """Fault of a file, all of which is read; None where it is as it was written.

    Args:
        sealed: True where it has a checksum; files of the first runs have none.

    StorageError where S3 does not answer.
    """

    def read() -> str | None:
        with folder.open(name) as file:
            if seal.check(file, file.size()):
                return None
            return "its checksum is gone" if sealed else _read_pictures(file)

    try:
        return patiently(folder, read)
    except seal.DamagedError as error:
        return str(error)
    except FileNotFoundError:
        return "it is not there"
    except OSError as error:
        if not folder.local:
            raise StorageError(f"cannot read {name}: {error}") from error
        return str(error)


def _read_pictures(file: pa.NativeFile) -> None:
    """All rows of a file without a checksum. DamagedError where one cannot be read."""
    try:
        file.seek(0)
        for batch in pq.ParquetFile(file).iter_batches(GROUP_ROWS):
            for row in batch.to_pylist():
                if row["image"]:
                    with Image.open(io.BytesIO(row["image"]["bytes"])) as image:
                        image.load()
    except (OSError, SyntaxError, ValueError, KeyError, pa.ArrowException) as error:
        raise seal.DamagedError(str(error)) from error


def read_counts(folder: Folder, name: str, *, rows: int, job: str) -> Counts | None:
    """Counts of a complete file of this job; None where it is broken, short, or of another."""

    def read() -> pq.FileMetaData:
        with folder.open(name) as file:
            return pq.read_metadata(file)

    with contextlib.suppress(OSError, pa.ArrowInvalid, KeyError, ValueError, TypeError):
        metadata = patiently(folder, read)
        found: Mapping[str, Any] = json.loads((metadata.metadata or {})[FOOTER])
        if found["job"] == job and metadata.num_rows == rows:
            return Counts(**found["counts"])
    return None
