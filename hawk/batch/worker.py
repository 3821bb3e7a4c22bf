"""Worker: shards in, files out. A plain class; `worker_pool.py` puts it into processes."""

import time
from collections import defaultdict, deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from hawk.batch.job_settings import JobSettings
from hawk.batch.row_engine import FinishedRow, RowEngine
from hawk.batch.schema import PROMPTS
from hawk.batch.shard import Counts, ShardWriter
from hawk.batch.worker_messages import Assignment, Provenance, RowKey, WorkerReport
from hawk.pipeline import Assemble, Pipeline
from hawk.prompts.row_values import PromptRow
from hawk.storage.folder import Folder
from hawk.storage.layout import shard_name

REPORT_S = 1.0
STRIKES = 3  # as many workers may a row take with it
CAUTION = 2  # from then on it runs alone, so that the next strike is its own


@dataclass(kw_only=True)
class _Shard:
    writer: ShardWriter
    rows: deque[tuple[int, PromptRow]]
    strikes: Mapping[int, tuple[int, str]]
    sheet: int


@dataclass(kw_only=True)
class _News:
    counts: defaultdict[int, Counts] = field(default_factory=lambda: defaultdict(Counts))
    files: dict[int, Counts] = field(default_factory=dict)
    pictures: dict[RowKey, bytes] = field(default_factory=dict)


class Worker:
    """Makes shards with one continuous session: the next shard's rows fill the last one's slots.

    Args:
        folder: Folder for the files.
        settings, guided, assemble: Arguments of the `RowEngine`.
    """

    def __init__(
        self,
        settings: JobSettings,
        folder: Folder,
        *,
        guided: bool | None,
        assemble: Assemble = Pipeline,
    ) -> None:
        self._folder = folder
        self._engine = RowEngine(settings, guided=guided, assemble=assemble)
        self._shards: dict[int, _Shard] = {}

    def provenance(self) -> Provenance:
        return self._engine.provenance

    def work(self, assignments: list[Assignment]) -> WorkerReport:
        """Go on for a moment, with these shards besides.

        Returns before the first pass over rows that have just joined, so that whoever waits knows
        them should this process die of one. StorageError where a file cannot be written.
        """
        for assignment in assignments:
            self._accept(assignment)
        news = _News()
        if not self._let_in():
            self._run(news)
        return WorkerReport(
            counts=dict(news.counts),
            files=news.files,
            in_flight=self._engine.in_flight,
            wants_shard=sum(len(shard.rows) for shard in self._shards.values())
            < self._engine.slots,
            pictures=news.pictures,
            notes=self._engine.take_notes(),
        )

    def close(self) -> None:
        """Drop what is not finished."""
        for shard in self._shards.values():
            shard.writer.discard()
        self._shards.clear()

    def _accept(self, assignment: Assignment) -> None:
        """Suspects first: if one kills again, little else is lost."""
        table = assignment.rows
        found = table.select(PROMPTS.names).to_pylist()
        rows = [(place, PromptRow(**values)) for place, values in enumerate(found)]
        kept = table.drop_columns(PROMPTS.names)
        rows.sort(key=lambda row: row[0] not in assignment.strikes)
        self._shards[assignment.shard] = _Shard(
            writer=ShardWriter(
                self._folder,
                shard_name(assignment.shard),
                rows=len(rows),
                job=assignment.job,
                kept=kept if kept.num_columns else None,
            ),
            rows=deque(rows),
            strikes=assignment.strikes,
            sheet=assignment.sheet,
        )

    def _let_in(self) -> bool:
        """Fill free slots; True if rows joined."""
        before = len(self._engine.in_flight)
        for number, shard in self._shards.items():
            while shard.rows and self._engine.free and not self._alone:
                place, row = shard.rows[0]
                strikes, cause = shard.strikes.get(place, (0, ""))
                if strikes >= STRIKES:
                    error = f"took {strikes} workers with it: {cause}"
                    self._engine.refuse((number, place), row, kind="WorkerLost", error=error)
                elif strikes >= CAUTION and self._engine.in_flight:
                    return len(self._engine.in_flight) > before  # when the others are done
                else:
                    self._engine.submit((number, place), row)
                shard.rows.popleft()
        return len(self._engine.in_flight) > before

    @property
    def _alone(self) -> bool:
        """Whether a row is in flight that nothing may join."""
        return any(
            self._shards[shard].strikes.get(place, (0, ""))[0] >= CAUTION
            for shard, place in self._engine.in_flight
        )

    def _run(self, news: _News) -> None:
        until, free = time.monotonic() + REPORT_S, self._engine.free
        while time.monotonic() < until:
            done = self._engine.step()
            for made in done:
                self._store(made, news)
            if done or self._engine.free > free or not self._engine.in_flight:
                return

    def _store(self, made: FinishedRow, news: _News) -> None:
        number, place = made.key
        shard = self._shards[number]
        news.counts[number] += made.counts
        if made.row["image"] and place < shard.sheet:
            news.pictures[number, place] = made.row["image"]["bytes"]
        if shard.writer.add(place, made.row, made.counts):
            news.files[number] = shard.writer.counts
            del self._shards[number]
