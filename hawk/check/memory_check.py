"""Check of memory: a model's peak beside its estimate; and the device where a copy of it fits."""

from collections.abc import Sequence

import torch

from hawk.bench.peak_memory import PeakMemory
from hawk.check.finding import CheckResult, NotApplicable
from hawk.targets import FAMILIES, memory_estimate, preflight
from hawk.targets.source import Source
from hawk.targets.weight_shapes import shapes

GIB = 2**30
SLACK = 1.15  # ratio of the peak to weights and cache: activations, graphs and fragments
LEAST_GIB = 0.5  # least slack


def same_memory(source: Source, peak: PeakMemory) -> CheckResult:
    """The peak since the model began to load, beside the estimate for one image in flight."""
    family = FAMILIES[preflight.family(source.config(), FAMILIES)]
    need, used_mb = memory_estimate.estimate(source, family, images=1), peak.megabytes()
    if need is None or used_mb is None:
        raise NotApplicable("neither the files nor the system tell how much memory it takes")
    estimate = need.total / GIB
    used = used_mb / 1024
    told = f"{used:.2f} GiB at most, {estimate:.2f} GiB estimated"
    if source.device.type != "cuda":
        raise NotApplicable(f"on the CPU files and libraries count too: {told}")
    most = estimate * SLACK + LEAST_GIB
    return CheckResult(
        passed=used <= most,
        line=f"{told} for one image (tolerance {most:.2f})",
        numbers={"peak_gib": round(used, 3), "estimate_gib": round(estimate, 3)},
    )


def device_with_room(
    source: Source, dtype: torch.dtype, devices: Sequence[torch.device]
) -> torch.device:
    """The first device that has room for a copy of the weights. NotApplicable where none has."""
    stored = shapes(source, source.config())
    if stored is None:
        return devices[0]
    need = memory_estimate.weight_bytes(stored, dtype)
    for device in devices:
        free = memory_estimate.free_bytes(device)
        if free is None or free >= need:
            return device
    places = " and ".join(dict.fromkeys(str(device) for device in devices))
    raise NotApplicable(
        f"a copy of {need / GIB:.1f} GiB ({str(dtype).removeprefix('torch.')}) has no room on "
        f"{places}"
    )
