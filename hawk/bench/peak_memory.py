"""Peak of the memory in use."""

from pathlib import Path

import torch

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
RESET_PEAK = "5"  # proc(5): sets the peak of resident memory to what is resident now


class PeakMemory:
    """Peak of a GPU's memory where that is the device, else of this process's resident memory
    (Linux)."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def reset(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
        elif CLEAR.exists():
            CLEAR.write_text(RESET_PEAK)

    def megabytes(self) -> int | None:
        """Peak megabytes since `reset`; None where the system does not tell."""
        if self._device.type == "cuda":
            return round(torch.cuda.max_memory_allocated(self._device) / 2**20)
        if not CLEAR.exists():
            return None
        [peak] = [line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM:")]
        return round(int(peak.split()[1]) / 2**10)
