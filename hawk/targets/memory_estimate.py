"""Memory of a model, estimated and compared with that of its devices before anything is loaded.

Image tokenizers are float32, whatever the decoder is, as official scripts run them; pixels are
decoded an image at a time. `hawk models` and the check before loading count alike.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch

from hawk.targets.kv_memory import least_image_bytes
from hawk.targets.source import Source
from hawk.targets.weight_shapes import IMAGE_TOKENIZER, Shape, shapes

GIB = 2**30
MEMINFO = Path("/proc/meminfo")
CGROUP = Path("/sys/fs/cgroup")
FULL_BYTES, HALF_BYTES = 4, 2  # bytes of float32, and of bfloat16 and float16


class Family(Protocol):
    """Family of models, as the estimate sees it.

    Attributes:
        feature_maps: Largest number of feature maps that decoding an image to pixels holds at a
            time, each of the image's size and with the channels of the decoder's last block.
    """

    feature_maps: float

    @classmethod
    def canvas(cls, config: Any, size: tuple[int, int] | None) -> tuple[int, int]:
        """Channels of the last block of its decoder of pixels, and number of pixels of an image.

        Args:
            config: Contents of config.json.
            size: (height, width) of images in pixels; None is the model's own.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class MemoryEstimate:
    """Bytes on the devices of a model, all together.

    Attributes:
        weights: Weights of all parts, image tokenizer included.
        images: Number of images in flight.
        cache: Keys and values of the images, with guidance and short prompts.
        decoding: Peak of decoding an image to pixels, besides the weights.
    """

    weights: int
    images: int
    cache: int
    decoding: int

    @property
    def total(self) -> int:
        return self.weights + self.cache + self.decoding


def check(source: Source, family: Family | None, images: int = 1) -> None:
    """ValueError where a model is known to take more than the free memory of its devices.

    Args:
        source: Model to load.
        family: Family of the model; None for a part that makes no pixels.
        images: Number of images in flight.
    """
    free = [free_bytes(device) for device in dict.fromkeys((source.device, *source.others))]
    known = [number for number in free if number is not None]
    need = estimate(source, family, images)
    if need is None or len(known) < len(free):
        return
    if need.total > sum(known):
        raise ValueError(_too_much(need, sum(known), source))


def estimate(source: Source, family: Family | None, images: int) -> MemoryEstimate | None:
    """Memory that a model takes; None where only a download would tell. Arguments as in `check`."""
    config = source.config()
    stored = shapes(source, config)
    if stored is None:
        return None
    return MemoryEstimate(
        weights=weight_bytes(stored, source.dtype),
        images=images,
        cache=images * least_image_bytes(config, source.size, source.dtype) if family else 0,
        decoding=decoding_bytes(family, *family.canvas(config, source.size)) if family else 0,
    )


def weight_bytes(stored: Iterable[Shape], dtype: torch.dtype) -> int:
    """Bytes of all weights, with those of the image tokenizer in float32."""
    return sum(
        math.prod(shape) * (FULL_BYTES if IMAGE_TOKENIZER in name else dtype.itemsize)
        for name, shape in stored
    )


def decoding_bytes(family: Family, channels: int, pixels: int) -> int:
    """Peak bytes of decoding an image to pixels; see `Family`."""
    return int(family.feature_maps * channels * pixels * FULL_BYTES)


def _too_much(need: MemoryEstimate, have: int, source: Source) -> str:
    where = " and ".join(map(str, dict.fromkeys((source.device, *source.others))))
    several = ", several as in cuda:0,cuda:1" if source.device.type == "cuda" else ""
    half = "--dtype bfloat16, " if source.dtype.itemsize > HALF_BYTES else ""
    fewer = "fewer --slots, " if need.images > 1 else ""
    name = str(source.dtype).removeprefix("torch.")
    return (
        f"it needs {need.weights / GIB:.1f} GiB for its weights in {name}, {need.cache / GIB:.1f} "
        f"GiB for keys and values ({need.images} in flight) and {need.decoding / GIB:.1f} GiB to "
        f"decode an image, and {have / GIB:.1f} GiB are free on {where}: use another "
        f"device{several}, {fewer}{half}or a smaller model"
    )


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
