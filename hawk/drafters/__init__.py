"""Drafters: the cheap side of speculation."""

from hawk.drafters.jacobi import Jacobi
from hawk.drafters.plain import Plain

DRAFTERS: dict[str, type[Jacobi] | type[Plain]] = {"jacobi": Jacobi, "plain": Plain}
AUTO = "jacobi"


def resolve_drafter(name: str) -> str:
    """The drafter that `auto` stands for, else `name`; ValueError where there is none of it."""
    if name == "auto":
        return AUTO
    if name not in DRAFTERS:
        raise ValueError(f"no drafter {name!r}: choose from auto, {', '.join(DRAFTERS)}")
    return name
