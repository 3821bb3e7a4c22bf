"""Inspection: what is in a run folder."""

from collections.abc import Iterable, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from hawk.batch.manifest import Manifest
from hawk.batch.shard import Counts, damage, read_counts
from hawk.storage import layout
from hawk.storage.folder import Folder
from hawk.storage.layout import shard_name


def inspect(folder: Folder, *, verify: bool = False) -> dict[str, Any]:
    """Counts, speeds and errors, ready for JSON. ValueError where the folder holds no job.

    Args:
        verify: True to read every file from end to end, and name the damaged ones.
    """
    ours = manifest_of(folder)
    total, complete = Counts(), 0
    seconds: list[float] = []
    damaged: dict[str, str] = {}
    there = set(folder.names())
    for shard in range(ours.shards):
        name, (start, stop) = shard_name(shard), ours.span(shard)
        if name not in there:
            continue
        found = read_counts(folder, name, rows=stop - start, job=ours.job)
        fault = damage(folder, name, sealed=ours.format > 1) if found and verify else None
        if found is None or fault:
            damaged[name] = fault or "its end is broken, or it is of another job"
            continue
        total += found
        complete += 1
        try:
            seconds += [row["seconds"] or 0.0 for row in rows(folder, ["seconds"], [name])]
        except ValueError as error:
            damaged[name] = str(error)
    seconds = sorted(filter(None, seconds))
    ended = folder.has(ours.path(layout.SUCCESS))
    return {
        "out": folder.url,
        "model": ours.provenance.model,
        "model_revision": ours.provenance.model_revision,
        "drafter": ours.provenance.drafter,
        "rule": ours.provenance.rule,
        "exact": ours.provenance.exact,
        "device": ours.provenance.device or None,
        "dtype": ours.provenance.dtype or None,
        "rows": ours.rows,
        "rows_done": total.rows,
        "images": total.images,
        "failed": total.failed,
        "errors": total.errors,
        "files": ours.shards,
        "files_done": complete,
        "damaged": damaged,
        "success": ended and complete == ours.shards and not damaged,
        "tokens_per_forward": round(total.tokens / max(1, total.forwards), 3),
        "median_seconds": round(seconds[len(seconds) // 2], 3) if seconds else None,
    }


def find_row(folder: Folder, name: str) -> dict[str, Any]:
    """The row with an id. ValueError where there is none."""
    manifest_of(folder)
    broken: list[str] = []
    for part in parts(folder):
        try:
            with folder.open(part) as file:
                found = pq.read_table(file, filters=[("id", "=", name)]).to_pylist()
        except (OSError, pa.ArrowException):
            broken.append(part)
            continue
        if found:
            return found[0]
    if broken:
        raise ValueError(
            f"no row {name!r} in the files of {folder.url} that can be read; {', '.join(broken)} "
            f"cannot"
        )
    raise ValueError(f"no row {name!r} in {folder.url}: ids are those of the column `id`")


def manifest_of(folder: Folder) -> Manifest:
    """The manifest of a run folder. ValueError where it is none."""
    ours = Manifest.read(folder)
    if ours is None:
        raise ValueError(f"{folder.url} is no run folder: it has no {layout.MANIFEST}")
    return ours


def parts(folder: Folder) -> list[str]:
    """Names of the files with rows, in order."""
    return [name for name in folder.names() if name.endswith(".parquet")]


def rows(
    folder: Folder, columns: list[str], names: Iterable[str] | None = None
) -> Iterator[dict[str, Any]]:
    """Some columns of all rows, file by file. ValueError, with its name, for one that is damaged.

    Args:
        names: Names of the files; None for all.
    """
    for part in parts(folder) if names is None else names:
        try:
            with folder.open(part) as file:
                found = pq.read_table(file, columns=columns).to_pylist()
        except (OSError, pa.ArrowException) as error:
            raise ValueError(
                f"{folder.url}/{part} is damaged ({error}): the same hawk batch makes it again"
            ) from error
        yield from found
