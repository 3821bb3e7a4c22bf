"""Revision: which weights a model name stood for."""

import hashlib
from pathlib import Path

from transformers.utils.hub import cached_file

from hawk.targets import locate

ENDS_BYTES = 2**20
KINDS = (".json", ".safetensors", ".model", ".txt")


def model_revision(model: str) -> str:
    """The hub's commit for a hub id, else a fingerprint of the folder's files.

    Of large files names, sizes and both ends count: reading all of them would take minutes.
    """
    location, revision = locate(model)
    config = Path(str(cached_file(str(location), "config.json", revision=revision)))
    if config.parent.parent.name == "snapshots":
        return config.parent.name
    digest = hashlib.sha256()
    for path in sorted(path for path in config.parent.iterdir() if path.suffix in KINDS):
        size = path.stat().st_size
        digest.update(f"{path.name} {size}\n".encode())
        with path.open("rb") as file:
            digest.update(file.read(ENDS_BYTES))
            file.seek(max(0, size - ENDS_BYTES))
            digest.update(file.read())
    return digest.hexdigest()[:16]
