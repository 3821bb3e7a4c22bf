"""What a batch job of a hundred million prompts on a thousand GPUs asks of its driver and of S3.

Two kinds of numbers. Measured on this machine: the driver's memory and time a prompt, and how many
reports a second it takes in from so many workers. Computed from them and from the plan's own
arithmetic: files, listings, requests a second, and what the last shards and lost machines cost, the
latter by simulating every worker of the job.

    python -m benchmarks.scale --prompts 200000 --workers 1000
"""

import heapq
import json
import math
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from hawk.batch.manifest import rows_per_file
from hawk.planning.estimate import LIST_KEYS, READS, puts

IMAGES = 100_000_000
PIXELS = 384
IMAGE_BYTES = 300_000
RATE = 1.0  # images a second of a worker
SPREAD = 0.1  # of workers' speeds, one standard deviation
LOSSES_PER_HOUR = 0.05  # of machines, each
RESTART_S = 600.0
REQUEST_S = 0.03  # of S3, one after the other
READERS = 64


def main(
    prompts: Annotated[int, typer.Option(min=4, help="That are staged here.")] = 200_000,
    workers: Annotated[int, typer.Option(min=1)] = 1000,
    stage_only: Annotated[int | None, typer.Option(hidden=True)] = None,
) -> None:
    """Print one JSON object."""
    if stage_only is not None:
        typer.echo(json.dumps(stage(stage_only)))
        return
    few, many = (staged_apart(count) for count in (prompts // 4, prompts))
    rows = rows_per_file(IMAGES, workers, width=PIXELS, height=PIXELS)
    report = {
        "driver_bytes_a_prompt": round((many["bytes"] - few["bytes"]) / (prompts - prompts // 4)),
        "driver_seconds_a_million": round(many["seconds"] / prompts * 1e6, 1),
        "reports_a_second": round(reports_a_second(workers), 1),
        "files": files(rows),
        "stragglers": {size: stragglers(workers, size) for size in (303, 1000, 2000, 8000)},
    }
    typer.echo(json.dumps(report, indent=2))


def staged_apart(prompts: int) -> dict[str, float]:
    """`stage` in a process of its own, whose greatest memory is its own too."""
    command = [sys.executable, "-m", "benchmarks.scale", "--stage-only", str(prompts)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def stage(prompts: int) -> dict[str, float]:
    """Stage so many prompts with ids; greatest memory in bytes, and seconds."""
    from hawk.batch.staging import Staged
    from hawk.prompts.columns import ColumnChoice
    from hawk.prompts.inputs import find
    from hawk.prompts.survey import Survey
    from hawk.storage.folder import locate

    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as file:
        source = Path(folder) / "prompts.csv"
        with source.open("w") as out:
            out.write("id,prompt\n")
            out.writelines(
                f"row-{n},a photograph of thing {n} in the rain\n" for n in range(prompts)
            )
        found = find(locate(str(source), endpoint=None))
        before = time.perf_counter()
        survey = Survey(found, ColumnChoice())
        Staged(file, survey.entries(), survey.files, seed=0)
        seconds = time.perf_counter() - before
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"bytes": peak, "seconds": seconds}


def reports_a_second(workers: int) -> float:
    """How many workers' answers a driver takes in, with the calls of all of them in flight.

    Four real actors answer at once; the calls of the others are still on their way.
    """
    import ray

    from hawk.batch.worker_pool import CALLS_AHEAD, answered

    ray.init(address="local", num_cpus=4, include_dashboard=False, logging_level=40)

    class Worker:
        def work(self) -> int:
            return 1

        def sleep(self) -> None:
            time.sleep(3600)

    actor: Any = ray.remote(num_cpus=0)(Worker)
    busy = actor.options(max_concurrency=1).remote()
    waiting = [busy.sleep.remote() for _ in range(workers * CALLS_AHEAD)]
    quick: list[Any] = [actor.remote() for _ in range(4)]
    ray.get([worker.work.remote() for worker in quick])
    calls = {worker.work.remote(): worker for worker in quick for _ in range(8)}
    taken, begun = 0, time.perf_counter()
    while time.perf_counter() - begun < 10:
        for call in answered([*waiting, *calls]):
            ray.get(call)
            worker = calls.pop(call)
            calls[worker.work.remote()] = worker
            taken += 1
    rate = taken / (time.perf_counter() - begun)
    ray.shutdown()
    return rate


def files(rows: int) -> dict[str, Any]:
    """Of the run folder, and what S3 is asked for because of them."""
    count = math.ceil(IMAGES / rows)
    seconds = IMAGES / (1000 * RATE)
    return {
        "rows_a_file": rows,
        "files": count,
        "megabytes_a_file": round(rows * IMAGE_BYTES / 1e6),
        "puts": count * puts(rows * IMAGE_BYTES),
        "puts_a_second": round(count * puts(rows * IMAGE_BYTES) / seconds, 1),
        "listing_requests": math.ceil(count / LIST_KEYS),
        "listing_seconds": round(math.ceil(count / LIST_KEYS) * REQUEST_S * 4, 1),
        "checking_seconds": round(count * READS * REQUEST_S / READERS),
    }


def stragglers(workers: int, rows: int) -> dict[str, float]:
    """Every worker of the job, shard by shard: what the end and lost machines cost.

    A lost machine's shard begins anew on the machine that takes its place.
    """
    generator = np.random.default_rng(0)
    speeds = RATE * generator.lognormal(0.0, SPREAD, workers)
    shards = math.ceil(IMAGES / rows)
    busy = 0.0
    free = [(0.0, worker) for worker in range(workers)]
    heapq.heapify(free)
    lost = 0
    ends = 0.0
    while shards:
        now, worker = heapq.heappop(free)
        needed = rows / speeds[worker]
        until_loss = generator.exponential(3600 / LOSSES_PER_HOUR)
        if until_loss < needed:
            lost += 1
            heapq.heappush(free, (now + until_loss + RESTART_S, worker))
            continue
        shards -= 1
        busy += needed
        ends = max(ends, now + needed)
        heapq.heappush(free, (now + needed, worker))
    return {
        "hours": round(float(ends) / 3600, 2),
        "machines_lost": lost,
        "useful_share": round(float(busy / (ends * workers)), 4),
    }


if __name__ == "__main__":
    typer.run(main)
