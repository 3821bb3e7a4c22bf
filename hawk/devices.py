"""Devices: where models run, and in which type of numbers."""

import torch

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def resolve_device(device: str) -> torch.device:
    """A device that is there; `auto` is CUDA where there is some. ValueError otherwise."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        place = torch.device(device)
        torch.empty(1, device=place)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"no device {device!r} here: use auto, cpu or cuda") from error
    return place


def resolve_devices(devices: str) -> tuple[torch.device, ...]:
    """One or more devices, with commas between them; else as `resolve_device`."""
    return tuple(resolve_device(device) for device in devices.split(","))


def resolve_dtype(dtype: str, device: torch.device) -> torch.dtype:
    """One of `DTYPES` by its name; `auto` is bfloat16 on CUDA, float32 elsewhere. ValueError
    otherwise."""
    if dtype == "auto":
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    if dtype not in DTYPES:
        raise ValueError(f"no dtype {dtype!r}: choose from auto, {', '.join(DTYPES)}")
    return DTYPES[dtype]


def dtype_name(dtype: str, device: torch.device) -> str:
    """As `resolve_dtype`, by its name."""
    return str(resolve_dtype(dtype, device)).removeprefix("torch.")
