"""Storage: files on disk or S3 through one interface; every write is all or nothing."""

import contextlib
import fcntl
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol, TypeVar

import pyarrow as pa
import pyarrow.fs
from pyarrow.fs import FileSystem, LocalFileSystem

from jobs.batch import s3

COPY_BYTES = 8 * 2**20


class StorageError(OSError):
    """A file could not be written or read: trying other rows would not help."""


@dataclass(frozen=True, kw_only=True)
class Location:
    """A file or folder.

    Attributes:
        url: as it was given.
        filesystem, path: where Arrow finds it.
    """

    url: str
    filesystem: FileSystem
    path: str


def locate(url: str, *, endpoint: str | None) -> Location:
    """A path on disk or an `s3://` URL; `endpoint` is that of another S3 than Amazon's."""
    if url.startswith("s3://"):
        filesystem = s3.filesystem(endpoint)
        return Location(url=url, filesystem=filesystem, path=url.removeprefix("s3://").rstrip("/"))
    if "://" in url:
        raise ValueError(f"{url}: give a path or an s3:// URL")
    path = str(Path(url).expanduser().absolute())
    return Location(url=url, filesystem=LocalFileSystem(), path=path)


class Draft(Protocol):
    """A file in the making: `file` is written to, and nobody sees it before `publish`."""

    file: BinaryIO

    def publish(self) -> None: ...

    def discard(self) -> None: ...


class Folder:
    """A flat folder of files, on disk or S3; travels to other processes."""

    def __init__(self, url: str, *, endpoint: str | None = None) -> None:
        self._location = locate(url, endpoint=endpoint)
        self.url, self.endpoint = url, endpoint
        if self.local:
            self.url = self._location.path  # other processes may stand elsewhere

    def __reduce__(self) -> tuple[object, ...]:
        return _folder, (self.url, self.endpoint)

    @property
    def local(self) -> bool:
        return isinstance(self._location.filesystem, LocalFileSystem)

    def prepare(self) -> None:
        """Make the folder and see that it can be written. OSError or ValueError where not."""
        if not self.local:
            s3.check_writable(self.url, self.endpoint)
            return
        Path(self._location.path).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=self._location.path):
            pass

    def names(self) -> list[str]:
        """Of the files, sorted; a folder that is not there is empty."""
        selector = pyarrow.fs.FileSelector(self._location.path, allow_not_found=True)
        infos = self._location.filesystem.get_file_info(selector)
        return sorted(i.base_name for i in infos if i.type == pyarrow.fs.FileType.File)

    def open(self, name: str) -> pa.NativeFile:
        """For reading at any place."""
        return self._location.filesystem.open_input_file(self._path(name))

    def read(self, name: str) -> bytes:
        with self.open(name) as file:
            return file.read()

    def draft(self, name: str) -> Draft:
        """Begin a file that appears, complete, when it is published."""
        if self.local:
            return _LocalDraft(Path(self._path(name)))
        return _RemoteDraft(self._location.filesystem, self._path(name))

    def write(self, name: str, data: bytes) -> None:
        """Make or replace a small file. StorageError, and nothing is left, where that fails."""
        with writing(name), _dropped_on_failure(self.draft(name)) as draft:
            draft.file.write(data)
            draft.publish()

    def create(self, name: str, data: bytes) -> bool:
        """Make a small file; False, and nothing is changed, where there is one already."""
        if not self.local:
            return s3.put_new(self._path(name), data, self.endpoint)
        with writing(name), _dropped_on_failure(_LocalDraft(Path(self._path(name)))) as draft:
            draft.file.write(data)
            return draft.publish_new()

    def delete(self, name: str) -> None:
        self._location.filesystem.delete_file(self._path(name))

    def sweep(self) -> None:
        """Remove what writers left that died; those at work hold a lock on their file."""
        if not self.local:
            s3.abort_old_uploads(self.url, self.endpoint)
            return
        for path in Path(self._location.path).glob(".*.tmp"):
            with contextlib.suppress(OSError), path.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()

    def _path(self, name: str) -> str:
        return f"{self._location.path}/{name}"


def _folder(url: str, endpoint: str | None) -> Folder:
    return Folder(url, endpoint=endpoint)


@contextlib.contextmanager
def writing(name: str) -> Iterator[None]:
    """Say which file it was that could not be written."""
    try:
        yield
    except OSError as error:
        raise StorageError(f"cannot write {name}: {error}") from error


D = TypeVar("D", bound=Draft)


@contextlib.contextmanager
def _dropped_on_failure(draft: D) -> Iterator[D]:
    try:
        yield draft
    except BaseException:
        draft.discard()
        raise


class _LocalDraft:
    """A hidden file beside the place that it takes by renaming; locked while it is written."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._hidden = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.tmp")
        self.file: BinaryIO = self._hidden.open("wb")
        fcntl.flock(self.file, fcntl.LOCK_EX)

    def publish(self) -> None:
        self.file.flush()
        os.fsync(self.file.fileno())
        self._hidden.replace(self._path)
        self.file.close()

    def publish_new(self) -> bool:
        self.file.flush()
        os.fsync(self.file.fileno())
        try:
            self._path.hardlink_to(self._hidden)
        except FileExistsError:
            return False
        finally:
            self.discard()
        return True

    def discard(self) -> None:
        self._hidden.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # a full disk complains once more
            self.file.close()


class _RemoteDraft:
    """A file without a name on this machine; publishing is one PUT or a completed multipart."""

    def __init__(self, filesystem: FileSystem, path: str) -> None:
        self._filesystem, self._path = filesystem, path
        self.file: BinaryIO = tempfile.TemporaryFile(prefix="hawk-")  # noqa: SIM115

    def publish(self) -> None:
        self.file.seek(0)
        with self._filesystem.open_output_stream(self._path) as out:
            shutil.copyfileobj(self.file, out, COPY_BYTES)
        self.file.close()

    def discard(self) -> None:
        self.file.close()
