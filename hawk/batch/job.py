"""Job: what a batch job is to do, and its prompts."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import BinaryIO

from hawk.batch.job_settings import JobSettings
from hawk.batch.staging import Staged
from hawk.prompts.columns import ColumnChoice
from hawk.prompts.inputs import PromptFiles, find
from hawk.prompts.survey import Survey
from hawk.storage import s3
from hawk.storage.folder import locate


@dataclass(frozen=True, kw_only=True)
class Job:
    """Prompts, output and settings of a batch job.

    Attributes:
        prompts: File, folder or glob, on disk or S3.
        out: Folder on disk or S3 that all workers can write.
        settings: What the rows hold, and the workers that make them.
        columns: Columns of the prompts that are taken and kept.
        rows_per_file: Rows of each file; None decides by images' size and the number of workers.
        overwrite: True to throw away what the folder holds.
        address: Address of a Ray cluster; None is `RAY_ADDRESS`, else a Ray of our own on this
            machine.
        s3_endpoint: Endpoint of another S3 than Amazon's.
    """

    prompts: str
    out: str
    settings: JobSettings = field(default_factory=JobSettings)
    columns: ColumnChoice = field(default_factory=ColumnChoice)
    rows_per_file: int | None = None
    overwrite: bool = False
    address: str | None = None
    s3_endpoint: str | None = None

    def __post_init__(self) -> None:
        if self.rows_per_file is not None and self.rows_per_file < 1:
            raise ValueError(f"rows per file must be 1 or more, got {self.rows_per_file}")


def prompts_of(job: Job) -> PromptFiles:
    """The files of a job's prompts."""
    if job.prompts.startswith("s3://"):
        s3.check_readable(job.prompts, job.s3_endpoint)
    return find(locate(job.prompts, endpoint=job.s3_endpoint))


def stage(job: Job, source: PromptFiles, file: BinaryIO, say: Callable[[str], object]) -> Staged:
    """All prompts of a job, read, checked and stored in `file`; `say` is told what was taken."""
    survey = Survey(source, job.columns)
    for note in survey.notes:
        say(note)
    seed, fields = job.settings.seed, survey.fields
    staged = Staged(file, survey.entries(), survey.files, seed=seed, fields=fields)
    if staged.merged:
        say(f"{staged.merged} rows say again what the one before them did: made once")
    return staged
