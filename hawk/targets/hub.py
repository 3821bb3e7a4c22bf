"""Hub: contents of a repository, before anything large is downloaded.

Where the hub does not answer nothing is known, and the download itself will fail with the reason.
"""

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from huggingface_hub import HfApi, constants, snapshot_download, try_to_load_from_cache
from huggingface_hub.errors import (
    HfHubHTTPError,
    HFValidationError,
    OfflineModeIsEnabled,
    SafetensorsParsingError,
)
from huggingface_hub.utils import httpx  # the one that its client is made of

NO_ANSWER = (
    HfHubHTTPError,
    HFValidationError,  # the text is no id
    OfflineModeIsEnabled,
    SafetensorsParsingError,
    httpx.HTTPError,
)
GIB = 2**30


def listing(repository: str, revision: str | None) -> dict[str, int] | None:
    """Names of all files of a repository and their bytes; None where the hub does not answer."""
    try:
        info = HfApi().model_info(repository, revision=revision, files_metadata=True)
    except NO_ANSWER:
        return None
    return {file.rfilename: file.size or 0 for file in info.siblings or ()}


def shapes(
    repository: str, revision: str | None, file: str
) -> Iterator[tuple[str, tuple[int, ...]]] | None:
    """Name and shape of each tensor of a safetensors file, from its header alone; None where the
    hub does not answer."""
    try:
        head = HfApi().parse_safetensors_file_metadata(repository, file, revision=revision)
    except NO_ANSWER:
        return None
    return ((name, tuple(tensor.shape)) for name, tensor in head.tensors.items())


def download(repository: str, commit: str, patterns: Sequence[str]) -> Path:
    """Folder of the cache with the files of a repository that match some patterns; without a
    connection, with those that are cached. Errors of the client and of the disk pass through."""
    return Path(snapshot_download(repository, revision=commit, allow_patterns=list(patterns)))


def cached(repository: str, commit: str, file: str) -> Path | None:
    """Path of a file in the cache; None where it is not cached."""
    found = try_to_load_from_cache(repository, file, revision=commit)
    return Path(found) if isinstance(found, str) else None


def check_disk(sizes: dict[str, int]) -> None:
    """ValueError where the cache has no room for files to be downloaded.

    Args:
        sizes: Bytes of the files by name.
    """
    need, place = sum(sizes.values()), Path(constants.HF_HUB_CACHE)
    while not place.exists():
        place = place.parent
    have = shutil.disk_usage(place).free
    if need > have:
        raise ValueError(
            f"its weights take {need / GIB:.1f} GiB on disk, and {have / GIB:.1f} GiB are free for "
            f"the cache {constants.HF_HUB_CACHE}: free some, or set HF_HOME to another disk"
        )
