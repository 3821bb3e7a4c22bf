"""Batch jobs of pairs on a cluster that grows: a plain one, one that loses a node, a greedy one."""

import io
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import ray
from rich.console import Console

from benchmarks.autoscale.cluster import FakeCluster
from benchmarks.autoscale.record import Record
from hawk.batch.inspection import inspect
from hawk.batch.job import Job
from hawk.batch.job_settings import JobSettings, WorkerSettings
from hawk.batch.progress import Meter
from hawk.batch.run import run
from hawk.batch.shard import Counts
from hawk.settings import DraftSettings, ModelSettings
from hawk.storage.folder import Folder

CPUS, GPUS = 0.5, 1.0  # of a target, and of its drafter: together they take a node's two GPUs
START_S = 600.0
LEAVE_S = 120.0


@dataclass(frozen=True, kw_only=True)
class Work:
    """What each scenario makes.

    Attributes:
        model: as for `hawk batch`.
        prompts: a file of them.
        out: an empty folder.
        drafter: as for `hawk batch`.
        slots: images in flight in each worker.
        rows_per_file: few, so that a lost node costs little.
    """

    model: str
    prompts: Path
    out: Path
    drafter: str = "auto"
    slots: int = 4
    rows_per_file: int = 4


class _Watch(Meter):
    """Counts images into a record, and kills a node when there are so many."""

    def __init__(self, record: Record, *, kill_at: int | None, cluster: FakeCluster) -> None:
        self.text = io.StringIO()
        super().__init__(Console(file=self.text, width=200))
        self._record, self.kill_at, self._cluster = record, kill_at, cluster

    def update(self, counts: Counts) -> None:
        self._record.images = counts.images
        due = self.kill_at is not None and counts.images >= self.kill_at
        if due and self._record.nodes() == self._record.most_nodes() == 2:
            self.kill_at = None
            self._record.mark("a node is killed")
            self._cluster.kill_node(_busy_node())
        super().update(counts)


def grow(cluster: FakeCluster, record: Record, work: Work) -> dict[str, Any]:
    """A job of two workers on a head without any: nodes appear, and leave when it is done."""
    return _job(cluster, record, work, least=2, most=2)


def lose(cluster: FakeCluster, record: Record, work: Work) -> dict[str, Any]:
    """The same, and a node is killed soon after the first images: another takes its place."""
    return _job(cluster, record, work, least=2, most=2, kill_at=4)


def exceed(cluster: FakeCluster, record: Record, work: Work) -> dict[str, Any]:
    """A job that asks for twice as many workers as there can be nodes."""
    return _job(cluster, record, work, least=4, most=4)


def _job(
    cluster: FakeCluster,
    record: Record,
    work: Work,
    *,
    least: int,
    most: int,
    kill_at: int | None = None,
) -> dict[str, Any]:
    """Run a job, wait until its nodes are gone; what happened, ready for JSON."""
    if record.nodes():
        raise RuntimeError(f"{record.nodes()} nodes are there before the job")
    job = Job(
        prompts=str(work.prompts),
        out=str(work.out),
        settings=JobSettings(
            model=ModelSettings(model=work.model, slots=work.slots, device="cpu"),
            drafting=DraftSettings(
                drafter=work.drafter, placement=f"pair:draft_cpus={CPUS}:draft_gpus={GPUS}"
            ),
            workers=WorkerSettings(
                workers=f"{least}:{most}",
                cpus_per_worker=CPUS,
                gpus_per_worker=GPUS,
                start_timeout=START_S,
            ),
        ),
        rows_per_file=work.rows_per_file,
        address=cluster.address,
    )
    watch = _Watch(record, kill_at=kill_at, cluster=cluster)
    with watch:
        record.mark("the job begins")
        run(job, watch)
        record.mark("the job ends")
    if watch.kill_at is not None:
        raise RuntimeError("the job was over before a node could be killed: give it more images")
    record.wait(lambda: record.nodes() == 0, LEAVE_S, "the nodes leave")
    record.mark("the last node is gone")
    report = inspect(Folder(str(work.out)))
    return {
        "most_nodes": record.most_nodes(),
        "nodes_in_turn": nodes_in_turn(record),
        "images": report["images"],
        "rows": report["rows"],
        "success": report["success"],
        "said": watch.text.getvalue().splitlines(),
        "marks": {f"{seconds:.1f}": what for seconds, what in record.marks.items()},
    }


def nodes_in_turn(record: Record) -> list[int]:
    """How many nodes there were, each number once until it changes."""
    return [nodes for nodes, _ in groupby(sample.nodes for sample in record.samples)]


def _busy_node() -> str:
    """The id of a node that is there and not the head."""
    return next(
        node["NodeID"] for node in ray.nodes() if node["Alive"] and node["Resources"].get("GPU")
    )
