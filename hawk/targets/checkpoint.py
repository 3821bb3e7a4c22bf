"""Checkpoints of training scripts: pickles, read so that they cannot run code."""

import pickle
from pathlib import Path

import torch
from torch import Tensor

WRAPPERS = ("model", "module", "state_dict")  # what training scripts wrap weights in


def read_pickle(file: Path) -> dict[str, Tensor]:
    """The weights in a checkpoint of a training script, unwrapped."""
    try:
        found = torch.load(file, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise ValueError(f"{file} is broken or no checkpoint of tensors: {error}") from error
    for wrapper in WRAPPERS:
        found = found.get(wrapper, found)
    weights = {name: weight for name, weight in found.items() if isinstance(weight, Tensor)}
    if not weights:
        raise ValueError(f"there are no weights in {file}: it is another kind of file")
    return weights
