"""Devices: where models run."""

import torch


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
