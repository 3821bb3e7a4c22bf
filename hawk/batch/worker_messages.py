"""Messages between a run and its workers: plain data, so that a run never loads torch."""

from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa

from hawk.batch.shard import Counts

RowKey = tuple[int, int]  # shard, place in it


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Model and settings that images come from; the same on every worker of a job.

    Attributes:
        model: Name of the model as it was given.
        model_revision: Fingerprint of its weights.
        drafter, rule, exact: Those of a `Pipeline`.
        width, height: Size of the images, in pixels.
        device: Kind of device, as torch calls it: cpu, cuda, ...
        dtype: Type of the weights.
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
        shard: Number of the shard, which names the file.
        job: Fingerprint of the job, kept in the file.
        rows: Table of the `PROMPTS` schema and kept columns.
        strikes: Places of rows that were in flight when a worker died -> how often, and what it
            died of.
        sheet: Number of first rows that are wanted for the contact sheet.
    """

    shard: int
    job: str
    rows: pa.Table
    strikes: Mapping[int, tuple[int, str]]
    sheet: int


@dataclass(frozen=True, kw_only=True)
class WorkerReport:
    """Progress of a worker since its last report.

    Attributes:
        counts: Counts of the rows that are done, by shard.
        files: Counts of the shards whose file is there now.
        in_flight: (shard, place) of the rows in flight from here on.
        wants_shard: True where slots may run dry without another shard.
        pictures: (shard, place) -> PNG, of the contact sheet.
        notes: Sentences for the user.
    """

    counts: dict[int, Counts]
    files: dict[int, Counts]
    in_flight: list[RowKey]
    wants_shard: bool
    pictures: dict[RowKey, bytes]
    notes: list[str]
