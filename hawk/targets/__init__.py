"""Targets: the models that Hawk speeds up."""

import json
from pathlib import Path

import torch
from transformers.utils.hub import cached_file

from hawk.targets.base import Target
from hawk.targets.janus import Janus

EMBEDDED = {"emoji": Path(__file__).parent.parent / "assets" / "emoji"}
FAMILIES = {"janus": Janus}  # by `model_type` of config.json


def load_target(model: str, *, dtype: torch.dtype, device: torch.device) -> Target:
    """Load an embedded model by name, or any other from a folder or transformers hub id.

    ValueError where the model cannot be found or its family is not supported.
    """
    source = EMBEDDED.get(model, model)
    found = _model_type(source, model)
    if found not in FAMILIES:
        raise ValueError(f"{model!r} is a {found!r} model; Hawk runs {', '.join(FAMILIES)}")
    try:
        return FAMILIES[found].load(source, model, dtype=dtype, device=device)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # tokenizers and safetensors raise bare Exception
        raise ValueError(f"cannot load {model!r}, get its files again: {error}") from error


def _model_type(source: str | Path, model: str) -> str:
    try:
        path = cached_file(str(source), "config.json")
    except OSError:
        path = None
    if path is None:
        raise ValueError(
            f"no model {model!r}: give one of {', '.join(EMBEDDED)}, a folder with config.json, or "
            f"a hub id that can be reached or is in the cache"
        )
    try:
        return str(json.loads(Path(path).read_text())["model_type"])
    except (ValueError, KeyError) as error:
        raise ValueError(f"cannot load {model!r}: its config.json is broken ({error})") from error
