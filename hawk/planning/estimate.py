"""Estimate: workers, GPU hours, files, bytes and S3 requests of a batch job, before it is begun.

Arithmetic only. How files are cut is the batch job's own rule; what a file costs in S3 requests was
counted (tests/batch/test_plan.py counts again).
"""

import math
import re
from dataclasses import asdict, dataclass
from typing import Any

from hawk.batch.manifest import rows_per_file
from hawk.batch.seal import CHUNK_BYTES

PIXEL_BYTES = 2  # of a PNG
RESERVE = 0.1  # share of the workers' time that taken machines and the last shards cost
UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}
PART_BYTES = 10 * 2**20  # Arrow sends larger files in parts of this size
LIST_KEYS = 1000  # that S3 answers at a time
LISTINGS = 8  # of the run folder, from beginning to end
# Requests that read, of every file: the manifest before it appears (HEAD, GET), its footer when all
# are looked through (HEAD, GET), and when it is read from end to end HEAD, its end, its footer, and
# what lies before and behind the checksum there.
READS = 2 + 2 + 5


@dataclass(frozen=True, kw_only=True)
class Load:
    """Images to make, and the speed of one worker.

    Attributes:
        images: Number of images in all.
        width, height: Size of each, in pixels.
        rate: Images a second of one worker.
        deadline_s: Seconds from submission to the last file.
        start_s: Seconds until a node is there and its worker has loaded the model.
        gpus_per_worker: GPUs of a worker: 1 where target and drafter share one, 2 for a pair.
    """

    images: int
    width: int
    height: int
    rate: float
    deadline_s: float
    start_s: float
    gpus_per_worker: float

    def __post_init__(self) -> None:
        if self.images < 1 or self.gpus_per_worker <= 0:
            raise ValueError(
                f"images and GPUs per worker must be more than 0, got {self.images}, "
                f"{self.gpus_per_worker}"
            )
        if not (self.rate > 0 and math.isfinite(self.rate)):
            raise ValueError(f"images a second must be more than 0, got {self.rate}")
        if self.deadline_s <= self.start_s:
            raise ValueError(
                f"the deadline of {self.deadline_s:g} s leaves no time: nodes and models take "
                f"{self.start_s:g} s to come up"
            )


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Workers, time, files and requests of a job.

    Attributes:
        workers: Number of workers that make the deadline.
        hours: Hours that they need, start included.
        gpu_hours: GPU hours that are paid for, start and reserve included.
        rows_per_file, files, storage_bytes: Contents of the run folder.
        put_requests, get_requests, list_requests: Number of requests to S3.
    """

    workers: int
    gpus: float
    hours: float
    gpu_hours: float
    rows_per_file: int
    files: int
    storage_bytes: int
    put_requests: int
    get_requests: int
    list_requests: int

    def report(self) -> dict[str, Any]:
        """Estimate ready for JSON."""
        return asdict(self) | {"hours": round(self.hours, 2), "gpu_hours": round(self.gpu_hours, 1)}


def estimate(load: Load) -> Estimate:
    """The least workers that make the deadline, and what follows from them."""
    work_s = load.images / load.rate / (1 - RESERVE)
    workers = min(load.images, math.ceil(work_s / (load.deadline_s - load.start_s)))
    return with_workers(load, workers)


def with_workers(load: Load, workers: int) -> Estimate:
    """Estimate for a number of workers, whatever the deadline."""
    seconds = load.start_s + load.images / load.rate / (1 - RESERVE) / workers
    rows = rows_per_file(load.images, workers, width=load.width, height=load.height)
    files = math.ceil(load.images / rows)
    image_bytes = load.width * load.height * PIXEL_BYTES
    gpus = workers * load.gpus_per_worker
    return Estimate(
        workers=workers,
        gpus=gpus,
        hours=seconds / 3600,
        gpu_hours=gpus * seconds / 3600,
        rows_per_file=rows,
        files=files,
        storage_bytes=load.images * image_bytes,
        put_requests=files * puts(rows * image_bytes),
        get_requests=files * reads(rows * image_bytes),
        list_requests=LISTINGS * math.ceil(files / LIST_KEYS),
    )


def puts(file_bytes: int) -> int:
    """Requests that store one file: one PUT, or a multipart upload's begin, parts and end."""
    return 1 if file_bytes <= PART_BYTES else 2 + math.ceil(file_bytes / PART_BYTES)


def reads(file_bytes: int) -> int:
    """Requests that read, of a file of such a size, until it is known to be sound."""
    return READS + max(0, math.ceil(file_bytes / CHUNK_BYTES) - 1)


def parse_duration(text: str) -> float:
    """Seconds of `90m`, `24h`, `2d` or `1d12h`."""
    parts = re.findall(r"(\d+(?:\.\d+)?)([smhd])", text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(f"a duration is like 90m, 24h or 1d12h, got {text!r}")
    return sum(float(number) * UNITS_S[unit] for number, unit in parts)
