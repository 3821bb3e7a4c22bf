"""Speed: images a second of one worker, as given, as measured, or assumed of GPU and model."""

import json
import math
from dataclasses import dataclass
from pathlib import Path

from hawk.targets.catalogue import GIB, HALF_BYTES, Entry

ROWS = 2  # of the model for an image: guidance needs both
REACHED = 0.5  # share of a GPU's figures that is taken to come about


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """What its maker says of it.

    Attributes:
        bandwidth: of its memory, bytes a second.
        flops: a second, in bfloat16, dense.
    """

    bandwidth: float
    flops: float


GPUS = {
    "l4": Gpu(bandwidth=300e9, flops=121e12),
    "l40s": Gpu(bandwidth=864e9, flops=362e12),
    "a100": Gpu(bandwidth=2039e9, flops=312e12),
    "h100": Gpu(bandwidth=3350e9, flops=989e12),
    "h200": Gpu(bandwidth=4800e9, flops=989e12),
}


@dataclass(frozen=True, kw_only=True)
class Speed:
    """Images a second of one worker, and where the number is from."""

    rate: float
    source: str


def measured(file: Path) -> Speed:
    """Of what `hawk bench --json` printed: its fastest exact row, at whatever batch it was.

    A worker with more images in flight is faster, so a plan of few in flight errs on the safe side.
    """
    try:
        report = json.loads(file.read_text(encoding="utf-8").strip().splitlines()[-1])
        exact = [
            row
            for row, detail in zip(report["rows"], report["details"], strict=True)
            if detail.get("exact")
        ]
        best = min(exact, key=lambda row: row["seconds_per_image"])
        source = (
            f"measured: {best['drafter']} on {report['machine']['device']}, "
            f"{report['settings']['model']}, {best['batch']} in flight"
        )
        return Speed(rate=1 / best["seconds_per_image"], source=source)
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{file} is not what `hawk bench --json` prints: {type(error).__name__} {error}"
        ) from error


def assumed(model: Entry, gpu: str, slots: int) -> Speed:
    """What half of a GPU's memory bandwidth or arithmetic would give, without any drafts.

    A pass reads all weights and half of the keys and values of finished images (they grow), and
    computes two operations a parameter for both rows of every image in flight. It commits one token
    an image.
    """
    if gpu not in GPUS:
        raise ValueError(f"no figures of GPU {gpu!r}: give one of {', '.join(GPUS)}, or --rate")
    figures = GPUS[gpu]
    parameters = model.billions * 1e9
    read_bytes = parameters * HALF_BYTES + slots * model.image_gib * GIB / 2
    pass_s = (
        max(read_bytes / figures.bandwidth, 2 * parameters * ROWS * slots / figures.flops) / REACHED
    )
    return Speed(
        rate=slots / (math.prod(model.grid) * pass_s),
        source=f"assumed: plain decoding at half of what {gpu} can do, {slots} images in flight; "
        f"measure it with `hawk bench --model {model.checkpoint} --json`",
    )
