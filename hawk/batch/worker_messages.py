"""Messages between a run and its workers: plain data, so that a run never loads torch."""

from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa

from hawk.batch.shard import Counts

RowKey = tuple[int, int]  # shard, place in it


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Where images come from; the same on every worker of a job.

    Attributes:
        model: as it was given.
        model_revision: fingerprint of its weights.
        drafter, rule, exact: as in `hawk.pipeline.Result`.
        width, height: of the images, in pixels.
        device: kind of device, as torch calls it: cpu, cuda, ...
        dtype: of the weights.
    """

    model: str
    model_revision: str
    drafter: str
    rule: str
    exact: bool
    width: int
    height: int
    device: str = ""  # of runs before it was noted
    dtype: str = ""


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """One shard to make.

    Attributes:
        shard: its number, which names the file.
        job: fingerprint of the job, kept in the file.
        rows: of the `PROMPTS` schema.
        strikes: places of rows that were in flight when a worker died -> how often, and what it
            died of.
        sheet: so many of the first rows are wanted for the contact sheet.
    """

    shard: int
    job: str
    rows: pa.Table
    strikes: Mapping[int, tuple[int, str]]
    sheet: int


@dataclass(frozen=True, kw_only=True)
class WorkerReport:
    """What happened since the last one.

    Attributes:
        counts: of the rows that are done, by shard.
        files: shards whose file is there now.
        in_flight: (shard, place) of the rows in flight from here on.
        wants_shard: whether slots may run dry without another shard.
        pictures: (shard, place) -> PNG, of the contact sheet.
        notes: for the user to read.
    """

    counts: dict[int, Counts]
    files: dict[int, Counts]
    in_flight: list[RowKey]
    wants_shard: bool
    pictures: dict[RowKey, bytes]
    notes: list[str]
