"""Devices that models run on, and types of their numbers."""

import torch

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def resolve_device(device: str) -> torch.device:
    """The device of a name; `auto` is CUDA where there is a GPU. ValueError where it is missing."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        place = torch.device(device)
        torch.empty(1, device=place)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"no device {device!r} here: use auto, cpu or cuda") from error
    return place


def resolve_devices(devices: str) -> tuple[torch.device, ...]:
    """Devices of names with commas between them; see `resolve_device`."""
    return tuple(resolve_device(device) for device in devices.split(","))


def resolve_dtype(dtype: str, device: torch.device) -> torch.dtype:
    """The type of a name in `DTYPES`; `auto` is bfloat16 on CUDA, float32 elsewhere. ValueError for
    another name."""
    if dtype == "auto":
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    if dtype not in DTYPES:
        raise ValueError(f"no dtype {dtype!r}: choose from auto, {', '.join(DTYPES)}")
    return DTYPES[dtype]


def dtype_name(dtype: str, device: torch.device) -> str:
    """Name of the type that `resolve_dtype` returns."""
    return str(resolve_dtype(dtype, device)).removeprefix("torch.")
