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
from dataclasses import asdict
from typing import Any

from hawk.batch import capacity, manifest
from hawk.batch.card import card
from hawk.batch.clearing import READERS, clear, refuse_others
from hawk.batch.job import Job, prompts_of, stage
from hawk.batch.local_revision import local_revision
from hawk.batch.manifest import Manifest
from hawk.batch.presence import Presence
from hawk.batch.progress import Meter
from hawk.batch.shard import Counts, damage, read_counts
from hawk.batch.sheet import PICTURES, Sheet
from hawk.batch.staging import Staged
from hawk.batch.worker_messages import Assignment, Provenance, WorkerReport
from hawk.prompts.output_folder import refuse_overlap
from hawk.storage import layout
from hawk.storage.folder import Folder, StorageError, locate
from hawk.storage.layout import shard_name
from hawk.storage.scratch import in_scratch

ROUNDS = 3  # of making files that are found damaged


def run(job: Job, meter: Meter) -> dict[str, Any]:
    """Make what is missing; returns the summary, which is also in `_SUCCESS`.

    ValueError and OSError for what was given, before a model is loaded; RuntimeError and OSError
    where the run cannot go on. Another run with the same job goes on from there.
    """
    folder = Folder(job.out, endpoint=job.s3_endpoint)
    source = prompts_of(job)
    refuse_overlap(source, locate(job.out, endpoint=job.s3_endpoint))
    folder.prepare()  # what is wrong with it is said before prompts by the million are read
    # Without a name the staged rows are gone with this process, however it ends.
    with tempfile.TemporaryFile(prefix="hawk-") as file:
        with in_scratch():
            staged = stage(job, source, file, meter.say)
        with Presence(folder, clears=job.overwrite) as presence:
            if job.overwrite:
                clear(folder)
                presence.cleared()
            found = Manifest.read(folder)
            if found is None:
                refuse_others(folder, ())
            else:
                found.refuse_other(job.settings.identity(), staged, job.rows_per_file)
            folder.sweep()
            return _Run(job, folder, staged, meter, found).complete()


class _Run:
    """A job at work."""

    def __init__(
        self, job: Job, folder: Folder, staged: Staged, meter: Meter, found: Manifest | None
    ) -> None:
        self._job, self._folder, self._staged, self._meter = job, folder, staged, meter
        self._sheet = Sheet(folder)
        self._manifest = found
        self._whole: dict[int, Counts] = {}  # of complete files
        self._sound: set[int] = set()  # those of them that were read from end to end
        self._open: dict[int, Counts] = {}  # of shards in the making
        self._planned = False
        if found is not None:
            self._look()

    def complete(self) -> dict[str, Any]:
        """Make what is missing until every file is as it was written; returns the summary."""
        if self._manifest is not None and not self._missing:
            self._refuse_other_weights()
        for _ in range(ROUNDS):
            if self._manifest is None or self._missing:
                self._make()
            self._verify()
            if not self._missing:
                return self._finish()
        names = ", ".join(shard_name(shard) for shard in self._missing[:5])
        raise RuntimeError(f"{names} came out damaged {ROUNDS} times: look after the storage")

    @property
    def _ours(self) -> Manifest:
        assert self._manifest is not None, "there is a manifest once a worker is up"
        return self._manifest

    @property
    def _missing(self) -> list[int]:
        return [shard for shard in range(self._ours.shards) if shard not in self._whole]

    def _refuse_other_weights(self) -> None:
        """Where nothing is left to do no worker compares them."""
        known, found = self._ours.provenance, local_revision(self._job.settings.model.model)
        if found is None:
            self._meter.say(f"{known.model} is not on this machine: its weights were not compared")
        elif found != known.model_revision:
            raise ValueError(
                f"{known.model} has other weights now, {found}, than those of the folder, "
                f"{known.model_revision}: use another folder, or --overwrite to start anew"
            )

    def _make(self) -> None:
        """Run workers until no shard is missing."""
        if self._folder.has(layout.SUCCESS):
            self._folder.delete(layout.SUCCESS)
        self._planned = False
        arguments = {
            "settings": self._job.settings,
            "folder": self._folder,
            "guided": _guided(self._staged),
        }
        with capacity.connected(self._job.address, self._job.settings):
            # It imports Ray, which reads its environment then.
            from hawk.batch.worker_pool import WorkerPool

            pool = WorkerPool(self._job.settings, arguments, self._meter.say)
            try:
                for report in pool.run(self._plan, self._assign):
                    if report is not None:
                        self._note(report)
                    self._meter.update(self._total)
            finally:
                pool.close()
                self._folder.sweep()
                with contextlib.suppress(StorageError):  # `_finish` tries again
                    self._sheet.draw()

    def _verify(self) -> None:
        """Read every file that was not yet read; the damaged are missing."""
        self._look()
        shards = sorted(self._whole.keys() - self._sound)
        with ThreadPoolExecutor(READERS) as readers:
            faults = readers.map(lambda shard: damage(self._folder, shard_name(shard)), shards)
            for shard, fault in zip(shards, faults, strict=True):
                if fault is None:
                    self._sound.add(shard)
                else:
                    del self._whole[shard]
                    self._meter.say(f"{shard_name(shard)} is damaged ({fault}): it is made again")

    def _finish(self) -> dict[str, Any]:
        """Say in `_SUCCESS` that every file was checked."""
        refuse_others(self._folder, {shard_name(shard) for shard in self._whole})
        ours, counts = self._ours, self._total
        assert counts.rows == ours.rows, f"{counts.rows} rows in files, {ours.rows} in the input"
        self._sheet.draw()
        sheet = f"{self._folder.url}/{layout.SHEET}"
        summary = (
            asdict(counts)
            | {
                "failed": counts.failed,
                "tokens_per_forward": round(counts.tokens / max(1, counts.forwards), 3),
                "files": ours.shards,
                "seconds": round(self._meter.seconds, 3),
                "images_per_second": round(self._meter.rate, 4),
                "out": self._folder.url,
                "contact_sheet": sheet if self._folder.has(layout.SHEET) else None,
            }
            | {
                name: getattr(ours.provenance, name)
                for name in ("model", "drafter", "rule", "exact")
            }
        )
        text = card(
            self._folder,
            images=counts.images,
            failed=counts.failed,
            sheet=layout.SHEET if summary["contact_sheet"] else None,
            files="*.parquet",
        )
        self._folder.create(layout.CARD, text.encode())
        if not self._folder.has(layout.SUCCESS):
            self._folder.write(layout.SUCCESS, (json.dumps(summary, indent=2) + "\n").encode())
        return summary

    @property
    def _total(self) -> Counts:
        total = Counts()
        for counts in (*self._whole.values(), *self._open.values()):
            total += counts
        return total

    def _look(self) -> None:
        """Find out which files are complete, by what their footers say."""
        ours = self._ours

        def check(shard: int) -> Counts | None:
            start, stop = ours.span(shard)
            return read_counts(self._folder, shard_name(shard), rows=stop - start, job=ours.job)

        names = self._folder.names()
        refuse_others(self._folder, {shard_name(shard) for shard in range(ours.shards)})
        shards = [shard for shard in range(ours.shards) if shard_name(shard) in set(names)]
        with ThreadPoolExecutor(READERS) as readers:
            found = zip(shards, readers.map(check, shards), strict=True)
            self._whole = {shard: counts for shard, counts in found if counts is not None}
        for shard in self._whole:
            if ours.span(shard)[0] < PICTURES:
                self._sheet.add_file(shard_name(shard), ours.span(shard)[0])

    def _plan(self, provenance: Provenance) -> list[int]:
        """The shards to make, when the first worker is up."""
        if self._manifest is None:
            self._manifest = self._begin(provenance)
            self._look()
        known = self._ours.provenance
        if provenance != known:
            raise ValueError(
                f"this worker loaded {provenance}, the job began with {known}: use the same model "
                f"everywhere, or another folder, or --overwrite"
            )
        if self._planned:
            return []
        self._planned = True
        if not self._meter.seconds:
            self._meter.begin(self._ours.rows, self._total)
        return self._missing

    def _begin(self, provenance: Provenance) -> Manifest:
        """A manifest for an empty folder, or that of a run that began beside this one."""
        settings, workers = self._job.settings.identity(), self._job.settings.workers
        ours = Manifest(
            settings=settings,
            inputs=self._staged.fingerprint,
            rows=self._staged.rows,
            rows_per_file=self._job.rows_per_file
            or manifest.rows_per_file(
                self._staged.rows, workers.most, width=provenance.width, height=provenance.height
            ),
            provenance=provenance,
            versions=manifest.versions(),
        )
        if self._folder.create(layout.MANIFEST, ours.to_json()):
            return ours
        theirs = Manifest.read(self._folder)
        assert theirs is not None, "the manifest was there and is gone"
        theirs.refuse_other(settings, self._staged, self._job.rows_per_file)
        return theirs

    def _assign(self, shard: int, strikes: dict[int, tuple[int, str]]) -> Assignment:
        ours = self._ours
        start, stop = ours.span(shard)
        self._open[shard] = Counts()
        return Assignment(
            shard=shard,
            job=ours.job,
            rows=self._staged.slice(start, stop),
            strikes=strikes,
            sheet=PICTURES - start,
        )

    def _note(self, report: WorkerReport) -> None:
        for shard, counts in report.counts.items():
            self._open[shard] += counts
        for shard, counts in report.files.items():
            del self._open[shard]
            self._whole[shard] = counts
        for note in report.notes:
            self._meter.say(note)
        first = self._ours.span
        self._sheet.add({first(shard)[0] + at: png for (shard, at), png in report.pictures.items()})


def _guided(staged: Staged) -> bool | None:
    """Whether some row asks for guidance; None where that is up to the job or the model."""
    if staged.guidances - {None, 1.0}:
        return True
    return None if None in staged.guidances else False
