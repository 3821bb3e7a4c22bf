"""What Ray, PNG and Parquet cost: images a second of a batch job beside bare pipelines.

Both use the same number of processes of one thread each, the same slots, prompts and seeds, one
after the other, in turn. A bare process draws nothing and writes nothing: it makes tokens and
pixels. Loading is left out on both sides.

    python -m benchmarks.batch --prompts 1000 --workers 2
"""

import argparse
import json
import multiprocessing
import tempfile
import time
from multiprocessing.synchronize import Barrier
from pathlib import Path

import torch
from rich.console import Console

import hawk
from jobs.batch.progress import Meter
from jobs.batch.run import Job, run
from jobs.batch.settings import Making, Workers

EXAMPLES = Path(__file__).parents[1] / "examples" / "prompts.txt"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompts", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--slots", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--model", default="emoji")
    asked = parser.parse_args()
    examples = EXAMPLES.read_text().splitlines()
    prompts = [examples[place % len(examples)] for place in range(asked.prompts)]
    for _ in range(asked.rounds):
        bare = bare_rate(prompts, asked.model, asked.workers, asked.slots)
        job = job_rate(prompts, asked.model, asked.workers, asked.slots)
        print(  # noqa: T201 its result
            json.dumps(
                vars(asked)
                | {
                    "bare_images_per_second": round(bare, 3),
                    "job_images_per_second": round(job, 3),
                    "job_over_bare": round(job / bare, 3),
                }
            )
        )


def bare_rate(prompts: list[str], model: str, workers: int, slots: int) -> float:
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(workers + 1)
    processes = [
        context.Process(target=_make, args=(prompts[first::workers], model, slots, barrier))
        for first in range(workers)
    ]
    for process in processes:
        process.start()
    barrier.wait()
    started = time.perf_counter()
    for process in processes:
        process.join()
    return len(prompts) / (time.perf_counter() - started)


def _make(prompts: list[str], model: str, slots: int, barrier: Barrier) -> None:
    torch.set_num_threads(1)
    pipeline = hawk.Pipeline.from_pretrained(model, slots=slots)
    pipeline.session(guided=True)  # measures what passes cost
    barrier.wait()
    pipeline(prompts)


def job_rate(prompts: list[str], model: str, workers: int, slots: int) -> float:
    with tempfile.TemporaryDirectory() as folder, Meter(Console(stderr=True)) as meter:
        file = Path(folder) / "prompts.txt"
        file.write_text("\n".join(prompts))
        run(
            Job(
                prompts=str(file),
                out=str(Path(folder) / "out"),
                making=Making(model=model),
                workers=Workers(least=workers, most=workers, slots=slots),
            ),
            meter,
        )
        return meter.rate


if __name__ == "__main__":
    main()
