"""Run: one batch job from prompts to `_SUCCESS`, begun or gone on with.

The prompts are staged, cut into shards of consecutive rows, and given to workers shard by shard.
A shard is one Parquet file that appears complete or not at all, so the folder itself says what is
left to do: whatever ends a run, the next one makes the files that are missing or broken. An image
depends on its row and the model alone, so two runs at once only do some work twice.
"""

import contextlib
import json
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any, BinaryIO

from jobs.batch import cluster, manifest, s3
from jobs.batch.inputs import find, read
from jobs.batch.manifest import Manifest
from jobs.batch.messages import Assignment, Provenance, Report
from jobs.batch.progress import Meter
from jobs.batch.settings import Making, Workers
from jobs.batch.shard import Counts, read_counts, shard_name
from jobs.batch.sheet import NAME as SHEET
from jobs.batch.sheet import PICTURES, Sheet
from jobs.batch.staging import Staged
from jobs.batch.storage import Folder, StorageError, locate

SUCCESS = "_SUCCESS"
READERS = 64  # footers read at a time; on S3 each is two round trips


@dataclass(frozen=True, kw_only=True)
class Job:
    """What to do.

    Attributes:
        prompts: file, folder or glob, on disk or S3.
        out: folder on disk or S3 that all workers can write.
        making, workers: what to make, and with what.
        rows_per_file: None to decide from images' size and the number of workers.
        overwrite: throw away what the folder holds.
        address: of a Ray cluster; None is `RAY_ADDRESS`, else a Ray of our own on this machine.
        s3_endpoint: of another S3 than Amazon's.
    """

    prompts: str
    out: str
    making: Making = field(default_factory=Making)
    workers: Workers = field(default_factory=Workers)
    rows_per_file: int | None = None
    overwrite: bool = False
    address: str | None = None
    s3_endpoint: str | None = None

    def __post_init__(self) -> None:
        if self.rows_per_file is not None and self.rows_per_file < 1:
            raise ValueError(f"rows per file must be 1 or more, got {self.rows_per_file}")


def run(job: Job, meter: Meter) -> dict[str, Any]:
    """Make what is missing; returns the summary, which is also in `_SUCCESS`.

    ValueError and OSError for what was given, before a model is loaded; RuntimeError and OSError
    where the run cannot go on. Another run with the same job goes on from there.
    """
    folder = Folder(job.out, endpoint=job.s3_endpoint)
    folder.prepare()  # what is wrong with it is said before prompts by the million are read
    # Without a name the staged rows are gone with this process, however it ends.
    with tempfile.TemporaryFile(prefix="hawk-") as file:
        staged = stage(job, file)
        if staged.unused:
            meter.say(f"not used: {', '.join(sorted(map(repr, staged.unused)))}")
        if job.overwrite:
            _clear(folder)
        found = Manifest.read(folder)
        if found is None:
            _refuse_strange(folder)
        else:
            found.refuse_other(job.making, staged, job.rows_per_file)
        folder.sweep()
        made = _Run(job, folder, staged, meter, found)
        if found is None or made.missing:
            made.make()
        return made.finish()


def stage(job: Job, file: BinaryIO) -> Staged:
    """All prompts of a job, read, checked and stored in `file`."""
    if job.prompts.startswith("s3://"):
        s3.check_readable(job.prompts, job.s3_endpoint)
    source = locate(job.prompts, endpoint=job.s3_endpoint)
    files = find(source)
    return Staged(file, read(source, files), files, seed=job.making.seed)


class _Run:
    """A job at work.

    Attributes:
        missing: shards to make; known with the manifest.
    """

    def __init__(
        self, job: Job, folder: Folder, staged: Staged, meter: Meter, found: Manifest | None
    ) -> None:
        self._job, self._folder, self._staged, self._meter = job, folder, staged, meter
        self._sheet = Sheet(folder)
        self._manifest = found
        self._done = Counts()  # of complete files
        self._open: dict[int, Counts] = {}  # of shards in the making
        self.missing: list[int] = []
        if found is not None:
            self._look(found)

    def make(self) -> None:
        """Run workers until no shard is missing."""
        if SUCCESS in self._folder.names():
            self._folder.delete(SUCCESS)
        arguments = {
            "making": self._job.making,
            "folder": self._folder,
            "guided": _guided(self._staged),
        }
        with cluster.connected(self._job.address, self._job.workers):
            from jobs.batch.pool import Pool  # imports Ray, which reads its settings then

            pool = Pool(self._job.workers, arguments, self._meter.say)
            try:
                for report in pool.run(self._plan, self._assign):
                    if report is not None:
                        self._note(report)
                    self._meter.update(self._total)
            finally:
                pool.close()
                self._folder.sweep()
                with contextlib.suppress(StorageError):  # `finish` tries again
                    self._sheet.draw()

    def finish(self) -> dict[str, Any]:
        """Check every file, then say so in `_SUCCESS`."""
        ours = self._manifest
        assert ours is not None, "a run is finished before it has begun"
        self._done = Counts()
        self._look(ours)
        if self.missing:
            names = ", ".join(shard_name(shard) for shard in self.missing[:5])
            raise RuntimeError(f"{len(self.missing)} files are broken: {names}; run it again")
        counts = self._done
        assert counts.rows == ours.rows, f"{counts.rows} rows in files, {ours.rows} in the input"
        self._sheet.draw()
        summary = (
            asdict(counts)
            | {
                "failed": counts.failed,
                "tokens_per_forward": round(counts.tokens / max(1, counts.forwards), 3),
                "files": ours.shards,
                "seconds": round(self._meter.seconds, 3),
                "images_per_second": round(self._meter.rate, 4),
                "out": self._folder.url,
                "contact_sheet": f"{self._folder.url}/{SHEET}",
            }
            | {
                name: getattr(ours.provenance, name)
                for name in ("model", "drafter", "rule", "exact")
            }
        )
        if SUCCESS not in self._folder.names():
            self._folder.write(SUCCESS, (json.dumps(summary, indent=2) + "\n").encode())
        return summary

    @property
    def _total(self) -> Counts:
        total = Counts()
        for counts in (self._done, *self._open.values()):
            total += counts
        return total

    def _look(self, ours: Manifest) -> None:
        """Find out which files are complete."""

        def check(shard: int) -> Counts | None:
            start, stop = ours.span(shard)
            return read_counts(self._folder, shard_name(shard), rows=stop - start, job=ours.job)

        there = set(self._folder.names())
        shards = [shard for shard in range(ours.shards) if shard_name(shard) in there]
        with ThreadPoolExecutor(READERS) as readers:
            counts = dict(zip(shards, readers.map(check, shards), strict=True))
        self.missing = [shard for shard in range(ours.shards) if counts.get(shard) is None]
        for shard, found in counts.items():
            if found is not None:
                self._done += found
                if ours.span(shard)[0] < PICTURES:
                    self._sheet.add_file(shard_name(shard), ours.span(shard)[0])

    def _plan(self, provenance: Provenance) -> list[int]:
        """The shards to make, when the first worker is up."""
        first = not self._open and not self._meter.seconds
        if self._manifest is None:
            self._manifest = self._begin(provenance)
            self._look(self._manifest)
        known = self._manifest.provenance
        if provenance != known:
            raise ValueError(
                f"this worker loaded {provenance}, the job began with {known}: use the same model "
                f"everywhere, or another folder, or --overwrite"
            )
        if not first:
            return []
        self._meter.begin(self._manifest.rows, self._total)
        return self.missing

    def _begin(self, provenance: Provenance) -> Manifest:
        """A manifest for an empty folder, or that of a run that began beside this one."""
        making, workers = self._job.making, self._job.workers
        ours = Manifest(
            making=making,
            inputs=self._staged.fingerprint,
            rows=self._staged.rows,
            rows_per_file=self._job.rows_per_file
            or manifest.rows_per_file(
                self._staged.rows, workers.most, width=provenance.width, height=provenance.height
            ),
            provenance=provenance,
            versions=manifest.versions(),
        )
        if self._folder.create(manifest.NAME, ours.to_json()):
            return ours
        theirs = Manifest.read(self._folder)
        assert theirs is not None, "the manifest was there and is gone"
        theirs.refuse_other(making, self._staged, self._job.rows_per_file)
        return theirs

    def _assign(self, shard: int, strikes: dict[int, tuple[int, str]]) -> Assignment:
        ours = self._manifest
        assert ours is not None, "shards come after the plan"
        start, stop = ours.span(shard)
        self._open[shard] = Counts()
        return Assignment(
            shard=shard,
            job=ours.job,
            rows=self._staged.slice(start, stop),
            strikes=strikes,
            sheet=PICTURES - start,
        )

    def _note(self, report: Report) -> None:
        for shard, counts in report.counts.items():
            self._open[shard] += counts
        for shard, counts in report.files.items():
            del self._open[shard]
            self._done += counts
        for note in report.notes:
            self._meter.say(note)
        ours = self._manifest
        assert ours is not None, "reports come after the plan"
        self._sheet.add(
            {ours.span(shard)[0] + place: png for (shard, place), png in report.pictures.items()}
        )


def _guided(staged: Staged) -> bool | None:
    """Whether some row asks for guidance; None where that is up to the job or the model."""
    if staged.guidances - {None, 1.0}:
        return True
    return None if None in staged.guidances else False


def _clear(folder: Folder) -> None:
    """Remove what a job leaves; the manifest last, so that a run cut short here is recognised."""
    names = folder.names()
    parts = [name for name in names if name.startswith("part-") and name.endswith(".parquet")]
    for name in (SUCCESS, SHEET, *parts, manifest.NAME):
        if name in names:
            folder.delete(name)


def _refuse_strange(folder: Folder) -> None:
    strange = [name for name in folder.names() if name.endswith(".parquet") or name == SUCCESS]
    if strange:
        raise ValueError(
            f"{folder.url} holds {strange[0]} and no {manifest.NAME}: use an empty folder"
        )
