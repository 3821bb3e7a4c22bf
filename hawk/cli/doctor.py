"""Doctor: findings about this machine, and how to mend what is missing."""

import importlib.metadata
import importlib.util
import os
import platform
import shutil
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from hawk.targets import EMBEDDED

LIBRARIES = ("hawk-t2i", "torch", "transformers", "safetensors", "tokenizers", "numpy", "pillow")
LEAST_GIB = 2.0


@dataclass(frozen=True, kw_only=True)
class Check:
    """One finding.

    Attributes:
        name: Part that was looked at.
        found: State of the part.
        fine: True where it is as it should be.
        needed: True where Hawk cannot run without it.
        mend: Remedy where it is not fine.
    """

    name: str
    found: str
    fine: bool = True
    needed: bool = True
    mend: str = ""

    def __str__(self) -> str:
        mark = "ok " if self.fine else ("BAD" if self.needed else "-- ")
        return f"{mark} {self.name}: {self.found}" + ("" if self.fine else f"; {self.mend}")


def examine() -> list[Check]:
    """All checks, needed ones first."""
    return [
        Check(name="python", found=f"{platform.python_version()} on {platform.machine()}"),
        *(_library(name) for name in LIBRARIES),
        _memory(),
        *(_model(name, folder) for name, folder in EMBEDDED.items()),
        _cuda(),
        _ray(),
    ]


def _library(name: str) -> Check:
    try:
        return Check(name=name, found=importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        return Check(
            name=name, found="not installed", fine=False, mend="run `pip install -e .` again"
        )


def _memory() -> Check:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return Check(
        name="memory",
        found=f"{total:.1f} GiB in all, {torch.get_num_threads()} threads for torch",
        fine=total >= LEAST_GIB,
        mend=f"the embedded model wants {LEAST_GIB:.0f} GiB: lower --slots if it fails",
        needed=False,
    )


def _model(name: str, folder: Path) -> Check:
    try:
        with safe_open(folder / "model.safetensors", "pt") as weights:
            tensors = len(weights.keys())
        found, fine = f"{tensors} tensors in {folder}", True
    except (OSError, SafetensorError) as error:
        found, fine = f"broken ({error})", False
    return Check(
        name=f"model {name}",
        found=found,
        fine=fine,
        mend="get the repository again: its weights are part of it",
    )


def _cuda() -> Check:
    if torch.cuda.is_available():
        properties = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
        found = ", ".join(f"{p.name} ({p.total_memory / 2**30:.0f} GiB)" for p in properties)
        return Check(name="cuda", found=found, needed=False)
    mend = "fine for the embedded model; large ones want a GPU"
    if shutil.which("nvidia-smi"):
        mend = "there is a driver: install a CUDA build of torch"
    return Check(name="cuda", found="none", fine=False, needed=False, mend=mend)


def _ray() -> Check:
    if importlib.util.find_spec("ray") is None:
        return Check(
            name="ray",
            found="not installed",
            fine=False,
            needed=False,
            mend="only for clusters: pip install -e '.[ray]'",
        )
    return Check(name="ray", found=importlib.metadata.version("ray"), needed=False)
