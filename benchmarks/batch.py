"""What Ray, PNG and Parquet cost: images a second of a batch job beside bare pipelines.

Both use the same number of processes of one thread each, the same slots, prompts and seeds. They
take turns on the same cores, so that both see the same machine. A bare process draws nothing and
writes nothing: it makes tokens and pixels. Loading is left out on both sides.

    python -m benchmarks.batch --prompts 1000 --workers 2
"""

import argparse
import json
import multiprocessing
import tempfile
from collections.abc import Callable
from multiprocessing.synchronize import Barrier
from pathlib import Path

import torch
from rich.console import Console

import hawk
from benchmarks.turns import Side, take_turns
from hawk.batch.job import Job
from hawk.batch.job_settings import JobSettings, WorkerSettings
from hawk.batch.progress import Meter
from hawk.batch.run import run
from hawk.batch.shard import Counts
from hawk.settings import ModelSettings

EXAMPLES = Path(__file__).parents[1] / "examples" / "prompts.txt"
Tell = Callable[[], object]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompts", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--slots", type=int, default=8)
    parser.add_argument("--model", default="emoji")
    asked = parser.parse_args()
    examples = EXAMPLES.read_text().splitlines()
    prompts = [examples[place % len(examples)] for place in range(asked.prompts)]
    settings = (prompts, asked.model, asked.workers, asked.slots)
    bare_s, job_s = take_turns([Side(bare, *settings), Side(job, *settings)])
    print(  # noqa: T201 its result
        json.dumps(
            vars(asked)
            | {
                "bare_images_per_second": round(len(prompts) / bare_s, 3),
                "job_images_per_second": round(len(prompts) / job_s, 3),
                "job_over_bare": round(bare_s / job_s, 3),
            }
        )
    )


def bare(tell: Tell, prompts: list[str], model: str, workers: int, slots: int) -> None:
    """Pipelines in processes, each with its part of the prompts."""
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(workers + 1)
    processes = [
        context.Process(target=_make, args=(prompts[first::workers], model, slots, barrier))
        for first in range(workers)
    ]
    for process in processes:
        process.start()
    barrier.wait()
    tell()
    for process in processes:
        process.join()
    tell()


def _make(prompts: list[str], model: str, slots: int, barrier: Barrier) -> None:
    torch.set_num_threads(1)
    pipeline = hawk.Pipeline.from_pretrained(model, slots=slots)
    pipeline.session(guided=True)  # measures what passes cost
    barrier.wait()
    pipeline(prompts)


def job(tell: Tell, prompts: list[str], model: str, workers: int, slots: int) -> None:
    """`hawk batch`, on a Ray of its own."""
    with tempfile.TemporaryDirectory() as folder, _Starter(tell) as meter:
        file = Path(folder) / "prompts.txt"
        file.write_text("\n".join(prompts))
        run(
            Job(
                prompts=str(file),
                out=str(Path(folder) / "out"),
                settings=JobSettings(
                    model=ModelSettings(model=model, slots=slots),
                    workers=WorkerSettings(workers=str(workers)),
                ),
            ),
            meter,
        )
        tell()


class _Starter(Meter):
    """Says when a job has loaded its model."""

    def __init__(self, tell: Tell) -> None:
        super().__init__(Console(stderr=True))
        self._tell = tell

    def begin(self, rows: int, before: Counts) -> None:
        super().begin(rows, before)
        self._tell()


if __name__ == "__main__":
    main()
