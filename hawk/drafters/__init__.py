"""Drafters: the cheap side of speculation."""

from collections.abc import Callable

import torch

from hawk.budget import Budget
from hawk.drafters.base import Drafter
from hawk.drafters.jacobi import MOST_NODES as JACOBI_NODES
from hawk.drafters.jacobi import Jacobi
from hawk.drafters.plain import Plain

DRAFTERS: dict[str, Callable[[torch.device, int, Budget], Drafter]] = {
    "jacobi": Jacobi,
    "plain": Plain,
}
MOST_NODES = {"jacobi": JACOBI_NODES, "plain": 1}
AUTO = "jacobi"


def resolve_drafter(name: str) -> str:
    """The drafter that `auto` stands for, else `name`; ValueError where there is none of it."""
    if name == "auto":
        return AUTO
    if name not in DRAFTERS:
        raise ValueError(f"no drafter {name!r}: choose from auto, {', '.join(DRAFTERS)}")
    return name
