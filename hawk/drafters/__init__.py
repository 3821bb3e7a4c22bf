"""Drafters: the cheap side of speculation."""

from typing import Protocol

import torch

from hawk.budget import Budget
from hawk.drafters.base import Drafter
from hawk.drafters.jacobi import Jacobi
from hawk.drafters.plain import Plain
from hawk.grid import Grid


class Maker(Protocol):
    """A drafter's class: what it has to be told about target and session."""

    most_nodes: int

    def __call__(
        self, *, grid: Grid, vocabulary: int, slots: int, budget: Budget, device: torch.device
    ) -> Drafter: ...


DRAFTERS: dict[str, Maker] = {"jacobi": Jacobi, "plain": Plain}
AUTO = "jacobi"


def resolve_drafter(name: str) -> str:
    """The drafter that `auto` stands for, else `name`; ValueError where there is none of it."""
    if name == "auto":
        return AUTO
    if name not in DRAFTERS:
        raise ValueError(f"no drafter {name!r}: choose from auto, {', '.join(DRAFTERS)}")
    return name
