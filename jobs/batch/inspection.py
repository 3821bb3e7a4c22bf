"""Inspection: what is in a run folder."""

from collections.abc import Iterator
from typing import Any

import pyarrow.parquet as pq

from jobs.batch.manifest import Manifest
from jobs.batch.run import SUCCESS
from jobs.batch.shard import Counts, read_counts, shard_name
from jobs.batch.storage import Folder


def inspect(folder: Folder) -> dict[str, Any]:
    """Counts, speeds and errors, ready for JSON. ValueError where the folder holds no job."""
    ours = _manifest(folder)
    total, complete = Counts(), 0
    for shard in range(ours.shards):
        start, stop = ours.span(shard)
        found = read_counts(folder, shard_name(shard), rows=stop - start, job=ours.job)
        if found is not None:
            total += found
            complete += 1
    seconds = sorted(row["seconds"] for row in rows(folder, ["seconds"]) if row["seconds"])
    return {
        "out": folder.url,
        "model": ours.provenance.model,
        "model_revision": ours.provenance.model_revision,
        "drafter": ours.provenance.drafter,
        "rule": ours.provenance.rule,
        "exact": ours.provenance.exact,
        "rows": ours.rows,
        "rows_done": total.rows,
        "images": total.images,
        "failed": total.failed,
        "errors": total.errors,
        "files": ours.shards,
        "files_done": complete,
        "success": SUCCESS in folder.names(),
        "tokens_per_forward": round(total.tokens / max(1, total.forwards), 3),
        "median_seconds": round(seconds[len(seconds) // 2], 3) if seconds else None,
    }


def find_row(folder: Folder, name: str) -> dict[str, Any]:
    """The row with an id. ValueError where there is none."""
    _manifest(folder)
    for part in _parts(folder):
        with folder.open(part) as file:
            found = pq.read_table(file, filters=[("id", "=", name)]).to_pylist()
        if found:
            return found[0]
    raise ValueError(f"no row {name!r} in {folder.url}: ids are those of the column `id`")


def _manifest(folder: Folder) -> Manifest:
    ours = Manifest.read(folder)
    if ours is None:
        raise ValueError(f"{folder.url} is no run folder: it has no manifest.json")
    return ours


def _parts(folder: Folder) -> list[str]:
    return [name for name in folder.names() if name.endswith(".parquet")]


def rows(folder: Folder, columns: list[str]) -> Iterator[dict[str, Any]]:
    """Some columns of all rows, file by file."""
    for part in _parts(folder):
        with folder.open(part) as file:
            yield from pq.read_table(file, columns=columns).to_pylist()
