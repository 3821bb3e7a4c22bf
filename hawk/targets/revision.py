"""Revision: a fingerprint of weights, by which a drafter knows the target it was trained for."""

import hashlib
from pathlib import Path

WHOLE_BYTES = 64 * 2**20  # files up to this size are read whole
BLOCK_BYTES = 2**18
BLOCKS = 256  # blocks read of a larger file, evenly spread, its header included


def fingerprint(folder: Path) -> str:
    """Sixteen hex digits over name, size and bytes of the safetensors files in a folder.

    Of large files a sample of blocks is read: fine-tuning changes every matrix, and reading 15 GB
    would take longer than loading them. ValueError where there are no such files.
    """
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise ValueError(f"no safetensors files in {folder}")
    digest = hashlib.sha256()
    for file in files:
        size = file.stat().st_size
        digest.update(f"{file.name} {size}\n".encode())
        with file.open("rb") as stream:
            if size <= WHOLE_BYTES:
                digest.update(stream.read())
                continue
            for block in range(BLOCKS):
                stream.seek(block * (size - BLOCK_BYTES) // (BLOCKS - 1))
                digest.update(stream.read(BLOCK_BYTES))
    return digest.hexdigest()[:16]
