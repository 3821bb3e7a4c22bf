"""Settings of batch jobs: what the rows hold, and the processes that make them."""

from dataclasses import dataclass
from typing import Annotated, Any

from hawk.cluster.placement import Placement, parse_placement
from hawk.settings import (
    DraftSettings,
    ModelSettings,
    SamplerSettings,
    Setting,
    identity,
    refuse_apart,
)


@dataclass(frozen=True, kw_only=True)
class WorkerSettings:
    """Processes with a loaded model each; they change how fast rows come, never what they hold.

    ValueError for a number out of range.
    """

    workers: Annotated[
        str,
        Setting("Processes with a model each: N, or MIN:MAX where a cluster can grow."),
    ] = "1"
    cpus_per_worker: Annotated[float, Setting("CPUs of each worker.")] = 1.0
    gpus_per_worker: Annotated[
        float, Setting("GPUs of each worker; 0.5 puts two workers on one.")
    ] = 0.0
    start_timeout: Annotated[float, Setting("Seconds to wait for workers to come up.")] = 600.0

    def __post_init__(self) -> None:
        if not 1 <= self.least <= self.most:
            raise ValueError(
                f"workers must be N or MIN:MAX with 1 <= MIN <= MAX, got {self.workers}"
            )
        if self.cpus_per_worker < 0 or self.gpus_per_worker < 0:
            raise ValueError(
                f"CPUs and GPUs of a worker must be 0 or more, got {self.cpus_per_worker}, "
                f"{self.gpus_per_worker}"
            )

    @property
    def least(self) -> int:
        """Workers that a job begins with."""
        return self._counts()[0]

    @property
    def most(self) -> int:
        """Workers that a job asks the cluster for."""
        return self._counts()[1]

    def _counts(self) -> tuple[int, int]:
        least, _, most = self.workers.partition(":")
        try:
            return int(least), int(most or least)
        except ValueError:
            raise ValueError(f"workers must be N or MIN:MAX, got {self.workers!r}") from None

    def placement(self, drafting: DraftSettings) -> Placement | None:
        """Processes of a worker with a drafter of its own; None where it drafts itself.
        ValueError where there is no such placement."""
        pair = parse_placement(drafting.placement)
        return pair and pair.of_worker(cpus=self.cpus_per_worker, gpus=self.gpus_per_worker)

    def bundles(self, drafting: DraftSettings) -> list[dict[str, float]]:
        """Resources that each worker asks a cluster for; more than one is a placement group."""
        placement = self.placement(drafting)
        if placement is not None:
            return placement.bundles()
        asked = {"CPU": self.cpus_per_worker, "GPU": self.gpus_per_worker}
        return [{kind: amount for kind, amount in asked.items() if amount}]


@dataclass(frozen=True, kw_only=True)
class JobSettings:
    """All settings of a batch job but its files. ValueError for what cannot be.

    Attributes:
        model, drafting: What each worker loads.
        sampling: Guidance and sampler of rows that have none of their own.
        seed: Number that goes into the seeds of rows that have none.
        workers: Processes that make the rows.
    """

    model: ModelSettings = ModelSettings()
    drafting: DraftSettings = DraftSettings()
    sampling: SamplerSettings = SamplerSettings()
    seed: int = 0
    workers: WorkerSettings = WorkerSettings()

    def __post_init__(self) -> None:
        refuse_apart(self.model, self.drafting.placement)
        self.workers.placement(self.drafting)

    @property
    def placement(self) -> Placement | None:
        """Processes of a worker with a drafter of its own."""
        return self.workers.placement(self.drafting)

    @property
    def bundles(self) -> list[dict[str, float]]:
        """Resources that each worker asks a cluster for."""
        return self.workers.bundles(self.drafting)

    def identity(self) -> dict[str, Any]:
        """Settings that decide what the rows hold, by name; a run folder is of one such set."""
        return identity(self.model, self.drafting, self.sampling) | {"seed": self.seed}
