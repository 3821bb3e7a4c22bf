"""Submission: the same batch job on a cluster, through Ray Jobs."""

import hashlib
import os
import shlex
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ray.exceptions import RayError
from ray.job_submission import JobDetails, JobStatus, JobSubmissionClient

import hawk
from hawk.batch.job_settings import JobSettings
from hawk.prompts.inputs import find
from hawk.prompts.output_folder import refuse_overlap
from hawk.storage.folder import Folder, locate
from hawk.storage.scratch import in_scratch

UPLOAD_LIMIT_BYTES = 100 * 2**20  # what every version of Ray takes
POLL_S = 2.0
PROMPTS = "prompts"  # folder of the upload
LEFT_OUT = shutil.ignore_patterns("__pycache__", "*.npz")


def client(address: str | None) -> JobSubmissionClient:
    """RuntimeError where no cluster answers; None is `RAY_ADDRESS`, else this machine."""
    address = address or os.environ.get("RAY_ADDRESS")
    if address and "://" not in address:  # Ray would take it for the cluster's own
        address = f"http://{address}"
    try:
        return JobSubmissionClient(address)
    except (ConnectionError, RuntimeError, ValueError, RayError) as error:
        where = address or "RAY_ADDRESS or this machine"
        raise RuntimeError(
            f"no Ray cluster answers at {where}: give its dashboard, --address http://HOST:8265, "
            f"and its token in RAY_AUTH_TOKEN with RAY_AUTH_MODE=token ({type(error).__name__})"
        ) from error


def refuse(settings: JobSettings, *, rows_per_file: int | None) -> None:
    """ValueError for options of `hawk batch` that cannot run there, before anything is sent."""
    named = {"model": settings.model.model, "drafter": settings.drafting.drafter}
    for name, text in named.items():
        if text.startswith((".", "~")) or (Path(text).is_dir() and not Path(text).is_absolute()):
            raise ValueError(
                f"--{name} {text} is a folder of this machine, which the cluster does not see: "
                f"give an absolute path that all machines share, or a name"
            )
    if rows_per_file is not None and rows_per_file < 1:
        raise ValueError(f"rows per file must be 1 or more, got {rows_per_file}")


def submit(
    cluster: JobSubmissionClient, prompts: str, out: str, options: Sequence[str]
) -> dict[str, Any]:
    """Start `hawk batch PROMPTS OUT OPTIONS` there; this very code and local prompts travel along.

    A local `out` has to be the same folder on all machines. The id follows from all of it, so that
    the same job twice runs once; one that has ended is begun again, and goes on from the files that
    are there. Returns the job as `describe` does.
    """
    with tempfile.TemporaryDirectory(prefix="hawk-") as folder, in_scratch():
        upload = Path(folder)
        prompts, out = _pack(upload, prompts, out), Folder(out).url
        entrypoint = shlex.join(["python", "-m", "hawk", "batch", prompts, out, *options])
        name = f"hawk-{_fingerprint(upload, entrypoint)}"
        known = {job.submission_id: job for job in cluster.list_jobs()}.get(name)
        if known is not None and not known.status.is_terminal():
            return describe(known) | {"submitted": False}
        if known is not None:
            cluster.delete_job(name)
        cluster.submit_job(
            entrypoint=entrypoint, submission_id=name, runtime_env={"working_dir": str(upload)}
        )
    return describe(cluster.get_job_info(name)) | {"submitted": True}


def logs(cluster: JobSubmissionClient, name: str, *, follow: bool) -> Iterator[str]:
    """What a job has printed, and with `follow` goes on to print until it ends; RuntimeError then
    where it did not succeed."""
    if not follow:
        yield cluster.get_job_logs(name)
        return
    printed = 0
    while True:
        status = cluster.get_job_status(name)  # asked first: the last lines come too
        text = cluster.get_job_logs(name)
        yield text[printed:]
        printed = len(text)
        if status.is_terminal():
            break
        time.sleep(POLL_S)
    if status != JobStatus.SUCCEEDED:
        raise RuntimeError(f"{name} has ended: {status.value.lower()}")


def describe(job: JobDetails) -> dict[str, Any]:
    """Facts of a job, ready for JSON."""
    return {
        "id": job.submission_id,
        "status": JobStatus(job.status).value,
        "command": job.entrypoint,
        "message": job.message,
    }


def _pack(upload: Path, prompts: str, out: str) -> str:
    """Fill the upload; returns where the prompts are from there."""
    shutil.copytree(Path(hawk.__file__).parent, upload / "hawk", ignore=LEFT_OUT)
    if not prompts.startswith("s3://"):
        found = find(locate(prompts, endpoint=None))
        refuse_overlap(found, locate(out, endpoint=None))
        for file, name in zip(found.files, found.names, strict=True):  # the names may be ids
            copy = upload / PROMPTS / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, copy)
        prompts = PROMPTS if len(found.files) > 1 else f"{PROMPTS}/{found.names[0]}"
    size = sum(path.stat().st_size for path in upload.rglob("*") if path.is_file())
    if size > UPLOAD_LIMIT_BYTES:
        raise ValueError(
            f"code and prompts are {size / 2**20:.0f} MiB, Ray takes "
            f"{UPLOAD_LIMIT_BYTES / 2**20:.0f}: put the prompts on S3 and give their s3:// URL"
        )
    return prompts


def _fingerprint(upload: Path, entrypoint: str) -> str:
    digest = hashlib.sha256(entrypoint.encode())
    for path in sorted(path for path in upload.rglob("*") if path.is_file()):
        digest.update(str(path.relative_to(upload)).encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]
