"""Overlap: an output folder that holds prompts, or that the next run would read as prompts."""

import os
from collections.abc import Iterator
from pathlib import Path

from hawk.prompts import globs
from hawk.prompts.inputs import PromptFiles
from hawk.storage.folder import Location
from hawk.storage.layout import shard_name


def refuse_overlap(found: PromptFiles, out: Location) -> None:
    """ValueError where the output folder is, holds, or lies in the input, however it is spelled."""
    if out.local != found.location.local:
        return
    identities = _on_disk if out.local else _on_s3
    ours, *above = identities(out.path)
    for file in found.files:
        if ours in identities(file):
            raise ValueError(
                f"{out.url} holds prompts of this job, {file}: give another folder for the images"
            )
    looked = {next(iter(identities(folder))) for folder in found.folders}
    if not looked.isdisjoint([ours, *above]) and (not found.pattern or _is_read(found, out)):
        raise ValueError(
            f"{out.url} lies in {found.location.url}, whose files are the prompts: give a folder "
            f"beside it for the images"
        )


def _is_read(found: PromptFiles, out: Location) -> bool:
    """Whether the pattern of a glob fits the files of the output."""
    base, path = found.base, out.path
    if out.local:
        base, path = os.path.realpath(base or "/"), os.path.realpath(path)
    file = f"{path}/{shard_name(0)}"
    below = file.removeprefix(f"{base.rstrip('/')}/")
    return below != file and globs.compiled(found.pattern).fullmatch(below) is not None


def _on_disk(path: str) -> Iterator[object]:
    """What tells a file or folder from all others, and likewise all that it lies in.

    Device and inode see through links, mounts and names that differ in case only; what is not there
    yet has a path.
    """
    real = Path(os.path.realpath(path))
    for place in (real, *real.parents):
        try:
            found = place.stat()
        except FileNotFoundError:
            yield str(place)
        else:
            yield found.st_dev, found.st_ino


def _on_s3(path: str) -> Iterator[object]:
    parts = path.split("/")
    for end in range(len(parts), 0, -1):
        yield "/".join(parts[:end])
