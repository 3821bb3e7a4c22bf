"""Processor: Hawk as a stage of somebody's own Ray Data pipeline."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from hawk.batch.job_settings import JobSettings
from hawk.batch.row_engine import RowEngine
from hawk.batch.schema import IMAGES
from hawk.prompts.columns import SETTINGS
from hawk.prompts.row_values import PromptRow, prompt_rows

if TYPE_CHECKING:
    from ray.data import Dataset

COLUMNS = ("prompt", "id", *SETTINGS)


@dataclass(frozen=True, kw_only=True)
class ProcessorConfig:
    """Settings of the stage.

    Attributes:
        settings: Those of a batch job.
        batch_size: Rows that a worker takes at a time; many times its slots keep those filled.
    """

    settings: JobSettings = field(default_factory=JobSettings)
    batch_size: int = 128


def build_processor(config: ProcessorConfig) -> Callable[[Dataset], Dataset]:
    """A function from a Ray Dataset with a column `prompt` to the same rows with images.

    The columns of a batch job's input are understood, those of its output are added, in place of
    columns of the same name; all others stay. A bad row gets `error`. Seeds and ids that are
    missing follow from the row's content, not its place, which Ray Data does not know.
    """

    def process(dataset: Dataset) -> Dataset:
        from ray.data import ActorPoolStrategy

        workers = config.settings.workers
        return dataset.map_batches(
            _Maker,
            fn_constructor_kwargs={"config": config},
            compute=ActorPoolStrategy(min_size=workers.least, max_size=workers.most),
            batch_size=config.batch_size,
            batch_format="pyarrow",
            num_cpus=workers.cpus_per_worker,
            num_gpus=workers.gpus_per_worker or None,
        )

    return process


class _Maker:
    """Images of a batch of rows, in a process of Ray Data's pool."""

    def __init__(self, config: ProcessorConfig) -> None:
        self._seed = config.settings.seed
        self._engine = RowEngine(config.settings, guided=True)

    def __call__(self, table: pa.Table) -> pa.Table:
        known = table.select([name for name in table.column_names if name in COLUMNS])
        rows = [self._row(values) for values in known.to_pylist()]
        made: dict[int, dict[str, Any]] = {}
        submitted = 0
        while len(made) < len(rows):
            while submitted < len(rows) and self._engine.free:
                self._engine.submit((0, submitted), rows[submitted])
                submitted += 1
            made.update({done.key[1]: done.row for done in self._engine.step()})
        result = pa.Table.from_pylist([made[place] for place in range(len(rows))], schema=IMAGES)
        for name in table.column_names:
            if name not in result.column_names:
                result = result.append_column(name, table[name])
        return result

    def _row(self, values: dict[str, Any]) -> PromptRow:
        row, *more = prompt_rows(values, 0, self._seed)
        if more:
            return row._replace(
                error=f"n must be 1 here, got {values['n']}: repeat the row instead"
            )
        return row
