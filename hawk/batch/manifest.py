"""Manifest: what a run folder holds, and whether it is ours to go on with."""

import hashlib
import json
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from hawk.batch.staging import Staged
from hawk.batch.worker_messages import Provenance
from hawk.storage import layout
from hawk.storage.folder import Folder

FORMAT = 2  # of run folders; in the first all files lay side by side, without checksums
SHARD_BYTES = 128 * 2**20
SHARDS_A_WORKER = 8  # so that all have work to the end, whoever is slower
LEAST_ROWS = 4  # of a file, where that leaves work for every worker
PACKAGES = ("hawk-t2i", "ray", "torch", "transformers", "pyarrow", "pillow")


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """One job in one folder.

    Attributes:
        settings: Settings that decide the rows, by name.
        inputs: Fingerprint of the staged rows.
        rows: Number of rows in all.
        rows_per_file: Number of rows of every shard but the last.
        provenance: Provenance of the model that the first worker loaded.
        versions: Versions of the packages that began it, for the record.
        format: Version of the folder's layout, see `FORMAT`.
    """

    settings: dict[str, Any]
    inputs: str
    rows: int
    rows_per_file: int
    provenance: Provenance
    versions: dict[str, str] = field(default_factory=dict)
    format: int = FORMAT

    @property
    def job(self) -> str:
        """Fingerprint of all that decides the files."""
        content = [
            self.settings,
            self.inputs,
            self.rows_per_file,
            self.provenance.model_revision,
        ]
        if self.format > 1:
            content += [self.provenance.device, self.provenance.dtype]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:32]

    @property
    def shards(self) -> int:
        return -(-self.rows // self.rows_per_file)

    def span(self, shard: int) -> tuple[int, int]:
        """First row of a shard, and the first one after it."""
        start = shard * self.rows_per_file
        return start, min(start + self.rows_per_file, self.rows)

    def path(self, name: str) -> str:
        """Path of a file of `layout` in this folder."""
        return name if self.format > 1 else layout.earlier(name)

    def to_json(self) -> bytes:
        return (json.dumps(asdict(self) | {"job": self.job}, indent=2) + "\n").encode()

    @classmethod
    def read(cls, folder: Folder) -> "Manifest | None":
        """Manifest of a folder, None where there is none. ValueError for one that is malformed."""
        names = (layout.MANIFEST, layout.earlier(layout.MANIFEST))
        name = next((name for name in names if folder.has(name)), None)
        if name is None:
            return None
        try:
            found: dict[str, Any] = {"format": 1} | json.loads(folder.read(name))
            found.pop("job", None)
            if "making" in found:  # as the first runs called it
                found["settings"] = found.pop("making")
            found["provenance"] = Provenance(**found["provenance"])
            return cls(**found)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ValueError(
                f"{folder.url}/{name} is not of this version of Hawk ({error}): "
                f"use another folder, or --overwrite"
            ) from error

    def refuse_other(
        self, settings: dict[str, Any], staged: Staged, rows_per_file: int | None
    ) -> None:
        """ValueError, with what differs, where the folder is of another job."""
        if self.format != FORMAT:
            raise ValueError(
                "the folder is of an earlier Hawk, which can be looked at and not gone on with: "
                "use another folder, or --overwrite to start anew"
            )
        differs = [
            f"{name} was {was!r}, is {now!r}"
            for name in settings | self.settings
            if (was := self.settings.get(name)) != (now := settings.get(name))
        ]
        if rows_per_file not in (None, self.rows_per_file):
            differs.append(f"rows per file were {self.rows_per_file}, are {rows_per_file}")
        if self.inputs != staged.fingerprint:
            differs.append(f"the prompts are others ({self.rows} rows then, {staged.rows} now)")
        if differs:
            raise ValueError(
                f"the folder holds another job: {'; '.join(differs)}. "
                f"Use another folder, or --overwrite to start anew"
            )


def rows_per_file(rows: int, workers: int, *, width: int, height: int) -> int:
    """About 128 MB of images, counted raw, and several shards for each worker."""
    by_size = SHARD_BYTES // (width * height * 3)
    by_worker = max(-(-rows // (workers * SHARDS_A_WORKER)), min(LEAST_ROWS, -(-rows // workers)))
    return max(1, min(by_size, by_worker))


def versions() -> dict[str, str]:
    """Versions of the packages that matter to pixels and files."""
    found: dict[str, str] = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found
