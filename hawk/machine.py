"""Machine: facts about the machine of a measurement, to be kept beside its numbers."""

import importlib.metadata
import os
import platform
from pathlib import Path

import torch

PACKAGES = ("hawk-t2i", "torch", "transformers", "numpy")


def machine(device: torch.device) -> dict[str, object]:
    """Processor and threads, and the GPU where that is the device."""
    found: dict[str, object] = {
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "device": str(device),
    }
    if device.type == "cuda":
        found["gpu"] = torch.cuda.get_device_name(device)
    return found


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that matter to speed."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
