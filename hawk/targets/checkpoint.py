"""Checkpoints of training scripts: pickles, read so that they cannot run code."""

import argparse
import pickle
import re
from pathlib import Path

import torch
from torch import Tensor

WRAPPERS = ("model", "module", "state_dict")  # keys under which training scripts store weights


def read_pickle(file: Path) -> dict[str, Tensor]:
    """The weights in a checkpoint of a training script, unwrapped. ValueError where there are none.

    Of all classes but tensors, only `argparse.Namespace` is let in: LlamaGen's training scripts
    keep their options in one, which is a record of values and runs nothing.
    """
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):
            found = torch.load(file, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        barred = re.search(r"GLOBAL (\S+)", str(error))
        if barred is not None:
            raise ValueError(
                f"{file} holds a {barred[1]}, which could run code when read: save its weights "
                f"without it, with torch.save of a dict of tensors"
            ) from error
        raise ValueError(f"{file} is broken or no checkpoint of tensors: get it again") from error
    for wrapper in WRAPPERS:
        if isinstance(found, dict):
            found = found.get(wrapper, found)
    named = found.items() if isinstance(found, dict) else ()
    weights = {name: weight for name, weight in named if isinstance(weight, Tensor)}
    if not weights:
        raise ValueError(f"there are no weights in {file}: it is another kind of file")
    return weights
