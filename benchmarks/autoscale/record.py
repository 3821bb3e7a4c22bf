"""Record: what a cluster was asked for, what it had and what it made, second by second."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from ray.autoscaler.v2.schema import ClusterStatus
from ray.autoscaler.v2.sdk import get_cluster_status

EVERY_S = 0.5


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One look at a cluster.

    Attributes:
        seconds: since the record began.
        demand: GPUs in use and asked for.
        gpus: GPUs there are.
        nodes: that run, without the head.
        images: made so far.
    """

    seconds: float
    demand: float
    gpus: float
    nodes: int
    images: int


@dataclass
class Record:
    """Looks at a cluster twice a second while the block runs. A context manager.

    Attributes:
        address: of the cluster.
        images: made so far; whoever makes them counts here.
        samples: in order.
        marks: seconds -> what happened then.
    """

    address: str
    images: int = 0
    samples: list[Sample] = field(default_factory=list)
    marks: dict[float, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._begun = time.monotonic()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> "Record":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    @property
    def seconds(self) -> float:
        """Since it began."""
        return time.monotonic() - self._begun

    def mark(self, what: str) -> None:
        """Note that something happens now."""
        self.marks[self.seconds] = what

    def nodes(self) -> int:
        """Of the last sample."""
        return self.samples[-1].nodes if self.samples else 0

    def most_nodes(self) -> int:
        """That ran at the same time."""
        return max((sample.nodes for sample in self.samples), default=0)

    def wait(self, done: Callable[[], bool], within_s: float, what: str) -> None:
        """Wait for a condition; RuntimeError that says what did not happen."""
        give_up = time.monotonic() + within_s
        while not done():
            if time.monotonic() > give_up:
                raise RuntimeError(
                    f"not within {within_s:g} s: {what}; last seen {self.samples[-1:]}"
                )
            time.sleep(EVERY_S / 2)

    def _look(self) -> None:
        while not self._end.wait(EVERY_S):
            status = get_cluster_status(self.address)
            nodes = [*status.active_nodes, *status.idle_nodes]
            gpus = [node.total_resources().get("GPU", 0.0) for node in nodes]
            self.samples.append(
                Sample(
                    seconds=self.seconds,
                    demand=_asked_for(status) + _in_use(status),
                    gpus=sum(gpus),
                    nodes=sum(gpu > 0 for gpu in gpus),
                    images=self.images,
                )
            )


def _in_use(status: ClusterStatus) -> float:
    return sum(
        usage.used for usage in status.cluster_resource_usage if usage.resource_name == "GPU"
    )


def _asked_for(status: ClusterStatus) -> float:
    demands = [
        *status.resource_demands.ray_task_actor_demand,
        *status.resource_demands.placement_group_demand,
    ]
    return sum(
        group.bundle.get("GPU", 0.0) * group.count
        for demand in demands
        for group in demand.bundles_by_count
    )
