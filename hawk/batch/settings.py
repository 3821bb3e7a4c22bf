"""Settings: what a job makes, and with what."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hawk.decoding import bounds
from hawk.decoding.bounds import parse_size

if TYPE_CHECKING:
    from hawk.cluster.placement import Placement


@dataclass(frozen=True, kw_only=True)
class Making:
    """All that decides what the rows hold; a run folder is of one Making.

    Attributes:
        model, drafter, rule, dtype: as `hawk.Pipeline.from_pretrained` takes them.
        size: WIDTHxHEIGHT in pixels, for families that have a choice.
        seed: goes into the seeds of rows that have none.
        negative_prompt, guidance, temperature, top_k, top_p: of rows that have none; None is the
            model's own.
    """

    model: str = "emoji"
    drafter: str = "auto"
    rule: str = "coupled"
    dtype: str = "auto"
    size: str | None = None
    seed: int = 0
    negative_prompt: str | None = None
    guidance: float | None = None
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None

    def __post_init__(self) -> None:
        """What is wrong is said before anything is loaded."""
        parse_size(self.size)
        for check in (bounds.guidance, bounds.temperature, bounds.top_k, bounds.top_p):
            value = getattr(self, check.__name__)
            if value is not None:
                check(value)


@dataclass(frozen=True, kw_only=True)
class Workers:
    """Processes with a loaded model each; they change how fast rows come, never what they hold.

    Attributes:
        least, most: how many; the job begins with the first and asks the cluster for `most`.
        slots: images in flight at most in each.
        prompt_limit, device, compile: as `hawk.Pipeline.from_pretrained` takes them.
        cpus, gpus: of each, as Ray counts them.
        start_s: how long to wait for `least` of them.
        pair: where each has its drafter in a process of its own, what that takes.
    """

    least: int = 1
    most: int = 1
    slots: int = 8
    prompt_limit: int | None = None
    device: str = "auto"
    compile: bool = False
    cpus: float = 1.0
    gpus: float = 0.0
    start_s: float = 600.0
    pair: Placement | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.least <= self.most:
            raise ValueError(
                f"workers must be N or MIN:MAX with 1 <= MIN <= MAX, got {self.least}:{self.most}"
            )
        if self.slots < 1:
            raise ValueError(f"slots must be 1 or more, got {self.slots}")
        if self.cpus < 0 or self.gpus < 0:
            raise ValueError(
                f"CPUs and GPUs of a worker must be 0 or more, got {self.cpus}, {self.gpus}"
            )
        if self.pair is not None:
            self.placement()

    def placement(self) -> Placement | None:
        """Of a worker and its drafter; ValueError where that cannot be."""
        return self.pair and self.pair.of_worker(cpus=self.cpus, gpus=self.gpus)

    def bundles(self) -> list[dict[str, float]]:
        """What each of them asks a cluster for; more than one is a placement group."""
        placement = self.placement()
        if placement is not None:
            return placement.bundles()
        asked = {"CPU": self.cpus, "GPU": self.gpus}
        return [{kind: amount for kind, amount in asked.items() if amount}]


def parse_workers(text: str) -> tuple[int, int]:
    """`4` or `2:8` as least and most."""
    least, _, most = text.partition(":")
    try:
        return int(least), int(most or least)
    except ValueError:
        raise ValueError(f"workers must be N or MIN:MAX, got {text!r}") from None
