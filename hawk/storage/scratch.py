"""Scratch: the folder of temporary files, by its name where it is full."""

import contextlib
import errno
import os
import tempfile
from collections.abc import Generator

FULL = tuple(os.strerror(number) for number in (errno.ENOSPC, errno.EDQUOT))


@contextlib.contextmanager
def in_scratch() -> Generator[None]:
    """A block that writes temporary files only. OSError names their folder where it is full."""
    try:
        yield
    except OSError as error:  # `shutil.copytree` and Arrow have the number in their words alone
        why = next((words for words in FULL if words in str(error)), None)
        if why is None:
            raise
        raise OSError(
            f"{tempfile.gettempdir()} has no room for temporary files ({why}): free some, or set "
            f"TMPDIR to another folder"
        ) from error
