"""Drafts: files in the making, which nobody sees before they are complete."""

import contextlib
import errno
import fcntl
import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Generator
from pathlib import Path
from typing import BinaryIO, Protocol, TypeVar

from pyarrow.fs import FileSystem

COPY_BYTES = 8 * 2**20
STALE_S = 86400.0  # of a hidden file where the file system has no locks to tell who is at work
UNSUPPORTED = (errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.ENOLCK, errno.EPERM)


class PendingFile(Protocol):
    """A file in the making: `file` is written to, and nobody sees it before `publish`."""

    file: BinaryIO

    def publish(self) -> None: ...

    def discard(self) -> None: ...


D = TypeVar("D", bound=PendingFile)


@contextlib.contextmanager
def dropped_on_failure(draft: D) -> Generator[D]:
    """The draft, which is discarded where the block fails."""
    try:
        yield draft
    except BaseException:
        draft.discard()
        raise


class LocalFile:
    """A hidden file beside the place that it takes by renaming; locked while it is written."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._hidden = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.tmp")
        path.parent.mkdir(parents=True, exist_ok=True)
        self.file: BinaryIO = self._hidden.open("w+b")
        _lock(self.file)

    def publish(self) -> None:
        self._sync()
        self._hidden.replace(self._path)
        self.file.close()

    def publish_new(self) -> bool:
        """As `publish`, unless there is such a file: False then, and it stays as it is."""
        self._sync()
        try:
            return self._link()
        finally:
            self.discard()

    def discard(self) -> None:
        self._hidden.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # a full disk complains once more
            self.file.close()

    def _link(self) -> bool:
        try:
            self._path.hardlink_to(self._hidden)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in UNSUPPORTED:
                raise
            return self._take()
        return True

    def _take(self) -> bool:
        """The way without hard links: the name first, for one of all who want it."""
        try:
            self._path.touch(exist_ok=False)
        except FileExistsError:
            return False
        self._hidden.replace(self._path)
        return True

    def _sync(self) -> None:
        self.file.flush()
        os.fsync(self.file.fileno())


class RemoteFile:
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


def sweep(folder: Path) -> None:
    """Remove the hidden files of writers that died; those at work hold a lock on theirs."""
    for path in folder.glob(".*.tmp"):
        with contextlib.suppress(OSError), path.open("rb") as file:
            if _lock(file) or time.time() - path.stat().st_mtime > STALE_S:
                path.unlink()


def _lock(file: BinaryIO) -> bool:
    """Whether it could be locked; False where the file system has no locks. OSError where another
    process holds it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise
        return False
    return True
