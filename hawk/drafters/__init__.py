"""Drafters: the cheap side of speculation."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from hawk.decoding.drafter import NamedDrafter
from hawk.decoding.grid import Identity
from hawk.drafters import weights
from hawk.drafters.baselines.local import Local
from hawk.drafters.baselines.sjd import Scd, Sjd
from hawk.drafters.baselines.spatial import Horizontal, Spatial, Union, Vertical
from hawk.drafters.hawk import Hawk
from hawk.drafters.jacobi import Jacobi
from hawk.drafters.plain import Plain

PRODUCT: tuple[type[NamedDrafter], ...] = (Jacobi, Hawk, Plain)
BASELINES: tuple[type[NamedDrafter], ...] = (Local, Spatial, Union, Horizontal, Vertical, Sjd, Scd)
DRAFTERS: Mapping[str, type[NamedDrafter]] = {kind.name: kind for kind in (*PRODUCT, *BASELINES)}
CHOICES = (
    f"{', '.join(['auto', *(kind.name for kind in PRODUCT)])} "
    f"(baselines: {', '.join(kind.name for kind in BASELINES)})"
)


def check(name: str) -> None:
    """ValueError unless `name` is a drafter, `auto`, or the folder of a trained one."""
    if name not in DRAFTERS and name != "auto" and not (Path(name) / weights.CONFIG).is_file():
        raise ValueError(
            f"no drafter {name!r}: choose from {CHOICES}, or give the folder of a trained one"
        )


def choose(name: str, identity: Identity) -> tuple[str, Identity]:
    """The drafter that a name stands for, and the identity by which it finds its weights.

    `auto` is `hawk` where it has weights for exactly this target that are worth their time, else
    `jacobi`; a folder is the drafter that it holds. ValueError as for `check`.
    """
    check(name)
    if name == "auto":
        return ("hawk" if weights.preferred("hawk", identity) else "jacobi"), identity
    if name in DRAFTERS:
        return name, identity
    kind = str(weights.read_config(Path(name))["kind"])
    if kind not in DRAFTERS:
        raise ValueError(f"the drafter in {name} is a {kind!r}: choose from {CHOICES}")
    return kind, replace(identity, drafters={kind: Path(name)})
