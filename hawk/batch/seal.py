"""Seal: the SHA-256 of a Parquet file inside the file itself, in the metadata of its footer.

The sum is taken with the digits of the seal as zeros, so that it covers every byte of the file. A
file and its seal are one: they are published together, copied together, and need no list beside.
"""

import hashlib
import re
import struct
from collections.abc import Callable
from typing import BinaryIO

import pyarrow as pa

KEY = b"hawk_seal"
DIGITS = 64
BLANK = b"sha256=" + b"0" * DIGITS
_MARK = re.compile(rb"sha256=([0-9a-f]{64})")
_TAIL = struct.Struct("<I4s")  # length of the footer, and the magic number behind it
CHUNK_BYTES = 8 * 2**20


class DamagedError(Exception):
    """A file is not as it was written."""


def seal(file: BinaryIO) -> None:
    """Put the seal into a complete file whose metadata hold `BLANK` under `KEY`."""
    file.flush()
    size = file.seek(0, 2)
    offset, _ = _find(file, size)
    digits = _digest(file, size, offset)
    file.seek(offset)
    file.write(digits)
    file.flush()


def check(file: BinaryIO | pa.NativeFile, size: int) -> bool:
    """Read a whole file; False where it has no seal. DamagedError where the seal does not fit."""
    try:
        offset, found = _find(file, size)
    except LookupError:
        return False
    if _digest(file, size, offset) != found:
        raise DamagedError("its checksum does not fit its bytes")
    return True


def _find(file: BinaryIO | pa.NativeFile, size: int) -> tuple[int, bytes]:
    """Where the digits of the seal are, and what they are. LookupError where there are none,
    DamagedError where the file has no footer."""
    if size < 2 * _TAIL.size:
        raise DamagedError(f"it has {size} bytes")
    file.seek(size - _TAIL.size)
    length, magic = _TAIL.unpack(file.read(_TAIL.size))
    start = size - _TAIL.size - length
    if magic != b"PAR1" or start < 0:
        raise DamagedError("its end is not that of a Parquet file")
    file.seek(start)
    footer = file.read(length)
    places = [match for match in _MARK.finditer(footer) if KEY in footer[: match.start()]]
    if not places:
        raise LookupError("no seal")
    return start + places[-1].start(1), places[-1][1]


def _digest(file: BinaryIO | pa.NativeFile, size: int, offset: int) -> bytes:
    digest = hashlib.sha256()
    _feed(digest.update, file, 0, offset)
    digest.update(b"0" * DIGITS)
    _feed(digest.update, file, offset + DIGITS, size)
    return digest.hexdigest().encode()


def _feed(
    update: Callable[[bytes], None], file: BinaryIO | pa.NativeFile, start: int, stop: int
) -> None:
    file.seek(start)
    while start < stop:
        chunk = file.read(min(stop - start, CHUNK_BYTES))
        if not chunk:
            raise DamagedError("it ends early")
        update(chunk)
        start += len(chunk)
