"""Placement: what each process gets; the only place with resource numbers. Imports no Ray."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from importlib.util import find_spec
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Resources and time limits of a drafter and its targets.

    Attributes:
        targets_per_drafter: Number of targets that share one drafter.
        lanes: Number of lanes of each target, which take turns.
        target_cpus, draft_cpus: CPUs of each process; torch uses as many threads.
        target_gpus, draft_gpus: GPUs of each process; None is one where the cluster has GPUs. A
            share below one has to fit on a single GPU.
        draft_accelerator: Type of the drafter's GPU, as Ray names it, where it is another one than
            the target's; they may then be on different machines.
        start_s: Seconds that all of them may take to come up.
        block_s: Seconds that a drafter may take for a block before it is restarted.
        pass_s: Seconds that a target may be silent before it is restarted.
    """

    targets_per_drafter: int = 1
    lanes: int = 2
    target_cpus: float = 1.0
    draft_cpus: float = 1.0
    target_gpus: float | None = None
    draft_gpus: float | None = None
    draft_accelerator: str | None = None
    start_s: float = 300.0
    block_s: float = 10.0
    pass_s: float = 120.0

    def __post_init__(self) -> None:
        for name in ("targets_per_drafter", "lanes"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be 1 or more, got {getattr(self, name)}")
        for name in ("target_cpus", "draft_cpus", "target_gpus", "draft_gpus"):
            if (getattr(self, name) or 0) < 0:
                raise ValueError(f"{name} must be 0 or more, got {getattr(self, name)}")

    @classmethod
    def read(cls, parameters: str) -> "Placement":
        """Placement of `name=value` parts with colons between them; ValueError for a wrong one."""
        kinds = {f.name: f.type for f in fields(cls)}
        found: dict[str, Any] = {}
        for part in filter(None, parameters.split(":")):
            name, _, value = part.partition("=")
            if name not in kinds:
                raise ValueError(f"a pair has no parameter {name!r}: it takes {', '.join(kinds)}")
            kind = str if "str" in str(kinds[name]) else int if kinds[name] is int else float
            try:
                found[name] = kind(value)
            except ValueError:
                raise ValueError(f"{name} of a pair must be a number, got {value!r}") from None
        return cls(**found)

    def of_worker(self, *, cpus: float, gpus: float) -> "Placement":
        """Placement in a process with these resources for its target. ValueError if impossible."""
        if self.targets_per_drafter > 1:
            raise ValueError(
                f"here every target has a drafter of its own, got targets_per_drafter "
                f"{self.targets_per_drafter}: give each a share of a GPU instead, as in "
                f"draft_gpus=0.25"
            )
        share = (1.0 if gpus else 0.0) if self.draft_gpus is None else self.draft_gpus
        return replace(self, target_cpus=cpus, target_gpus=gpus, draft_gpus=share)

    @property
    def cpus(self) -> float:
        """CPUs of all processes together."""
        return self.draft_cpus + self.targets_per_drafter * self.target_cpus

    def bundles(self) -> list[dict[str, float]]:
        """Bundles of the targets, then the drafter's."""
        draft = _bundle(self.draft_cpus, self.draft_gpus or 0)
        target = _bundle(self.target_cpus, self.target_gpus or 0)
        return [*[target] * self.targets_per_drafter, draft]

    def describe(self) -> str:
        """Resources that are asked for, in words."""
        *targets, draft = self.bundles()
        where = "on one machine"
        if self.draft_accelerator is not None:
            where = f"the drafter on a machine with {self.draft_accelerator}"
        return (
            f"{len(targets)} x {words(targets[0])} for targets and {words(draft)} for a drafter, "
            f"{where}"
        )


def parse_placement(text: str) -> Placement | None:
    """Placement of `colocated`, which is None, or of `pair` and `pair:NAME=VALUE:...`.

    ValueError for any other text, and for a pair where Ray is missing.
    """
    name, _, parameters = text.partition(":")
    if name not in ("colocated", "pair") or (name == "colocated" and parameters):
        raise ValueError(f"no placement {text!r}: choose from colocated, pair, pair:NAME=VALUE:...")
    if name == "colocated":
        return None
    if find_spec("ray") is None:
        raise ValueError("a pair needs Ray: pip install 'hawk-t2i[ray]'")
    return Placement.read(parameters)


def _bundle(cpus: float, gpus: float) -> dict[str, float]:
    return {kind: share for kind, share in (("CPU", cpus), ("GPU", gpus)) if share}


def words(resources: Mapping[str, float]) -> str:
    """Resources as people say them."""
    return " and ".join(f"{resources.get(kind, 0):g} {kind}" for kind in ("CPU", "GPU"))
