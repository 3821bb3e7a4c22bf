"""Vacancy: whether a folder is free for a job, and how it becomes so."""

from collections.abc import Collection, Iterable
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pyarrow.parquet as pq

from hawk.batch.shard import FOOTER
from hawk.storage import layout
from hawk.storage.folder import Folder

READERS = 64  # footers read at a time; on S3 each is two round trips


def clear(folder: Folder) -> None:
    """Remove the files of a run; the manifest last, so that one cut short here is recognised.

    ValueError, and all stays, where there are Parquet files that no run of Hawk has written.
    """
    manifests = [
        name
        for name in (layout.MANIFEST, layout.earlier(layout.MANIFEST))
        if folder.has(name) and layout.is_manifest(folder.read(name)) | name.startswith(layout.SIDE)
    ]
    names = folder.names()
    parts = [name for name in names if layout.PART.fullmatch(name)]
    ours = set(_made_by_hawk(folder, parts) if manifests else ())
    refuse_others(folder, ours)
    beside = [layout.SUCCESS, layout.SHEET, layout.CARD]
    if layout.earlier(layout.MANIFEST) in manifests:
        beside += map(layout.earlier, beside[:2])
    for name in (*filter(folder.has, beside), *sorted(ours), *manifests):
        folder.delete(name)


def refuse_others(folder: Folder, ours: Collection[str]) -> None:
    """ValueError where the folder holds Parquet files besides those of a job."""
    others = [name for name in folder.names() if name.endswith(".parquet") and name not in ours]
    if others:
        raise ValueError(
            f"{folder.url} holds {others[0]}, which is not of this job: use an empty folder, or "
            f"move that file"
        )


def _made_by_hawk(folder: Folder, parts: Iterable[str]) -> list[str]:
    def ours(name: str) -> bool:
        try:
            with folder.open(name) as file:
                return FOOTER in (pq.read_metadata(file).metadata or {})
        except (OSError, pa.ArrowException):
            return True  # a broken part in a folder with a manifest

    parts = list(parts)
    with ThreadPoolExecutor(READERS) as readers:
        return [name for name, found in zip(parts, readers.map(ours, parts), strict=True) if found]
