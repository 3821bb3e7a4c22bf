"""Storage: files on disk or S3 through one interface; every write is all or nothing."""

import contextlib
import tempfile
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pyarrow as pa
import pyarrow.fs
from pyarrow.fs import FileInfo, FileSystem, FileType, LocalFileSystem

from hawk.storage import pending_files, s3
from hawk.storage.pending_files import LocalFile, PendingFile, RemoteFile, dropped_on_failure
from hawk.storage.scratch import in_scratch

PAUSES_S = (0.1, 1.0, 5.0)


class StorageError(OSError):
    """A file could not be written or read: trying other rows would not help."""


@dataclass(frozen=True, kw_only=True)
class Location:
    """A file or folder.

    Attributes:
        url: URL or path as it was given.
        filesystem, path: Arrow's filesystem, and the path in it.
    """

    url: str
    filesystem: FileSystem
    path: str

    @property
    def local(self) -> bool:
        return isinstance(self.filesystem, LocalFileSystem)


def locate(url: str, *, endpoint: str | None) -> Location:
    """A path on disk or an `s3://` URL; `endpoint` is that of another S3 than Amazon's.

    ValueError where it is neither.
    """
    if not url.strip():
        raise ValueError("a path is empty: give a file or folder, or s3://bucket/folder")
    if "\0" in url or url != url.encode("utf-8", "replace").decode():
        raise ValueError(f"{url!a} is no name that Arrow can open: rename it to UTF-8 text")
    if url.startswith("s3://"):
        return Location(url=url, filesystem=s3.filesystem(endpoint), path=s3.path_of(url))
    if "://" in url:
        raise ValueError(f"{url}: give a path or an s3:// URL")
    path = str(Path(url).expanduser().absolute())
    return Location(url=url, filesystem=LocalFileSystem(), path=path)


class Folder:
    """A folder of files, on disk or S3; travels to other processes.

    A name may be that of a file in a folder below, `below/name`, which is made with it.
    """

    def __init__(self, url: str, *, endpoint: str | None = None) -> None:
        self._location = locate(url, endpoint=endpoint)
        self.url, self.endpoint = url, endpoint
        if self.local:
            self.url = self._location.path  # other processes may stand elsewhere

    def __reduce__(self) -> tuple[object, ...]:
        return _folder, (self.url, self.endpoint)

    @property
    def local(self) -> bool:
        return self._location.local

    def prepare(self) -> None:
        """Make the folder and see that it can be written. OSError or ValueError where not."""
        if not self.local:
            s3.check_writable(self.url, self.endpoint)
            return
        Path(self._location.path).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=self._location.path):
            pass

    def files(self, below: str = "") -> dict[str, FileInfo]:
        """Files in it, or in a folder below, by name in order; none where it is not there."""
        selector = pyarrow.fs.FileSelector(self._path(below), allow_not_found=True)
        infos = self._location.filesystem.get_file_info(selector)
        found = {info.base_name: info for info in infos if info.type == FileType.File}
        return dict(sorted(found.items()))

    def empty(self) -> bool:
        """Whether nothing is in it, or it is not there."""
        selector = pyarrow.fs.FileSelector(self._location.path, allow_not_found=True)
        return not self._location.filesystem.get_file_info(selector)

    def names(self, below: str = "") -> list[str]:
        """Names of the files in it, or in a folder below, in order."""
        return list(self.files(below))

    def has(self, name: str) -> bool:
        info = self._location.filesystem.get_file_info(self._path(name))
        return info.type == FileType.File

    def open(self, name: str) -> pa.NativeFile:
        """File opened for reading at any offset."""
        return self._location.filesystem.open_input_file(self._path(name))

    def read(self, name: str) -> bytes:
        with self.open(name) as file:
            return file.read()

    def begin(self, name: str) -> PendingFile:
        """Begin a file that appears, complete, when it is published."""
        if self.local:
            return LocalFile(Path(self._path(name)))
        return RemoteFile(self._location.filesystem, self._path(name))

    def write(self, name: str, data: bytes) -> None:
        """Make or replace a small file. StorageError, and nothing is left, where that fails."""
        with self.writing(name), dropped_on_failure(self.begin(name)) as draft:
            draft.file.write(data)
            draft.publish()

    def create(self, name: str, data: bytes) -> bool:
        """Make a small file; False, and nothing is changed, where there is one already."""
        if not self.local:
            return s3.put_new(self._path(name), data, self.endpoint)
        with self.writing(name), dropped_on_failure(LocalFile(Path(self._path(name)))) as draft:
            draft.file.write(data)
            return draft.publish_new()

    @contextlib.contextmanager
    def writing(self, name: str) -> Generator[None]:
        """A block that writes a file; StorageError that says which where it cannot."""
        try:
            with contextlib.nullcontext() if self.local else in_scratch():  # on its way to S3
                yield
        except OSError as error:
            raise StorageError(f"cannot write {name}: {error}") from error

    def delete(self, name: str) -> None:
        self._location.filesystem.delete_file(self._path(name))

    def drop(self, below: str) -> None:
        """Remove a folder below where it is empty; on S3 there are none."""
        if self.local:
            with contextlib.suppress(OSError):  # not there, or not empty
                Path(self._path(below)).rmdir()

    def sweep(self) -> None:
        """Remove what writers left that died."""
        if not self.local:
            s3.abort_old_uploads(self.url, self.endpoint)
            return
        for folder in (Path(self._location.path), *Path(self._location.path).glob("__*__")):
            pending_files.sweep(folder)

    def _path(self, name: str) -> str:
        return f"{self._location.path}/{name}" if name else self._location.path


def _folder(url: str, endpoint: str | None) -> Folder:
    return Folder(url, endpoint=endpoint)


T = TypeVar("T")


def patiently(folder: Folder, action: Callable[[], T]) -> T:
    """An outcome of reading; on S3 after some more attempts where a connection breaks half way,
    which Arrow's client does not try again. OSError in the end."""
    for pause_s in () if folder.local else PAUSES_S:
        try:
            return action()
        except FileNotFoundError:
            raise
        except OSError:
            time.sleep(pause_s)
    return action()
