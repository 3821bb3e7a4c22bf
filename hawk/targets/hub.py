"""Hub: what a repository holds, asked before anything large is downloaded.

Where the hub does not answer, nothing is known, and the download itself will say why.
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
    HFValidationError,  # it is no id at all
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
    """Name and shape of each tensor of a safetensors file, of which only the head is fetched; None
    where the hub does not answer."""
    try:
        head = HfApi().parse_safetensors_file_metadata(repository, file, revision=revision)
    except NO_ANSWER:
        return None
    return ((name, tuple(tensor.shape)) for name, tensor in head.tensors.items())


def download(repository: str, commit: str, patterns: Sequence[str]) -> Path:
    """The folder of the cache with some files of a repository; without a connection, with those
    that are there. Errors of the client and of the disk pass through."""
    return Path(snapshot_download(repository, revision=commit, allow_patterns=list(patterns)))


def cached(repository: str, commit: str, file: str) -> Path | None:
    """A file in the cache, if it is there."""
    found = try_to_load_from_cache(repository, file, revision=commit)
    return Path(found) if isinstance(found, str) else None


def check_disk(sizes: dict[str, int]) -> None:
    """ValueError where the cache has no room for files to be downloaded.

    Args:
        sizes: their bytes by name.
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
