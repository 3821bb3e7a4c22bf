"""Memory: what a model needs, held against what its device has before anything is loaded."""

import json
import math
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors import safe_open

from hawk.targets.llamagen import TEXT_FOLDER
from hawk.targets.room import least_image_bytes
from hawk.targets.source import Source

GIB = 2**30
INDEX = "model.safetensors.index.json"
MEMINFO = Path("/proc/meminfo")
CGROUP = Path("/sys/fs/cgroup")
STORED_BYTES = {"float32": 4, "float64": 8}  # a number; 2 for all else that is published


def check(source: Source, slots: int = 1) -> None:
    """ValueError where weights, and keys and values of so many images with short prompts, are known
    to be larger than the free memory of the devices."""
    numbers = weights_in(source)
    devices = dict.fromkeys((source.device, *source.others))
    free = [free_bytes(device) for device in devices]
    known = [number for number in free if number is not None]
    if numbers is None or len(known) < len(free):
        return
    weights, have = numbers * source.dtype.itemsize, sum(known)
    images = slots * least_image_bytes(source.config(), source.size, source.dtype)
    if weights + images > have:
        name = str(source.dtype).removeprefix("torch.")
        where = " and ".join(str(device) for device in devices)
        more = ", several as in cuda:0,cuda:1" if source.device.type == "cuda" else ""
        raise ValueError(
            f"it needs {weights / GIB:.1f} GiB for its weights in {name} and {images / GIB:.1f} "
            f"GiB for keys and values ({slots} in flight), and {have / GIB:.1f} GiB are free on "
            f"{where}: use another device{more}, fewer --slots, --dtype bfloat16, or a smaller "
            f"model"
        )


def weights_in(source: Source) -> int | None:
    """Numbers in the model's weights; None where only their download would tell."""
    folder = Path(source.location)
    if folder.is_dir():
        return sum(_sizes(folder))
    index = source.file(INDEX)
    if index is None:
        return None
    stored = json.loads(index.read_text(encoding="utf-8"))["metadata"]["total_size"]
    config = source.config()
    dtype = config.get("dtype") or config.get("torch_dtype")
    return int(stored) // STORED_BYTES.get(str(dtype), 2)


def _sizes(folder: Path) -> Iterator[int]:
    """Numbers in each tensor of a model's folder, from the heads of its files."""
    for file in [*folder.glob("*.safetensors"), *folder.glob(f"{TEXT_FOLDER}/*.safetensors")]:
        with safe_open(file, "pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118  # it is no mapping
                yield math.prod(tensors.get_slice(name).get_shape())


def free_bytes(device: torch.device) -> int | None:
    """Free memory of a device, the container's limit included; None where it cannot be told."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    if device.type != "cpu" or not MEMINFO.exists():
        return None
    lines = dict(line.split(":", 1) for line in MEMINFO.read_text(encoding="utf-8").splitlines())
    free = int(lines["MemAvailable"].split()[0]) * 1024
    limit, used = CGROUP / "memory.max", CGROUP / "memory.current"
    if limit.exists() and (most := limit.read_text(encoding="utf-8").strip()) != "max":
        free = min(free, int(most) - int(used.read_text(encoding="utf-8")))
    return free
