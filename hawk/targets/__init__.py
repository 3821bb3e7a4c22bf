"""Targets: the models that Hawk speeds up."""

import json
from pathlib import Path

import torch
from transformers.utils.hub import cached_file

from hawk.facts import Facts
from hawk.targets.base import Target
from hawk.targets.janus import Janus
from hawk.targets.revision import revision

EMBEDDED = {"emoji": Path(__file__).parent.parent / "assets" / "emoji"}
DRAFTER_CONFIGS = "drafters/*/config.json"  # trained drafters that lie beside a model
FAMILIES = {"janus": Janus}  # by `model_type` of config.json


def load_target(model: str, *, dtype: torch.dtype, device: torch.device) -> Target:
    """Load an embedded model by name, or any other from a folder or transformers hub id.

    ValueError where the model cannot be found or its family is not supported.
    """
    source = EMBEDDED.get(model, model)
    config = _config(source, model)
    found = _model_type(config, model)
    if found not in FAMILIES:
        raise ValueError(f"{model!r} is a {found!r} model; Hawk runs {', '.join(FAMILIES)}")
    try:
        target = FAMILIES[found].load(source, model, dtype=dtype, device=device)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # tokenizers and safetensors raise bare Exception
        raise ValueError(f"cannot load {model!r}, get its files again: {error}") from error
    target.facts = Facts(
        name=model,
        revision=revision(config.parent),
        grid=target.grid,
        vocabulary=target.vocabulary,
        hidden_size=target.hidden_size,
        drafters={file.parent.name: file.parent for file in config.parent.glob(DRAFTER_CONFIGS)},
    )
    return target


def _config(source: str | Path, model: str) -> Path:
    try:
        path = cached_file(str(source), "config.json")
    except OSError:
        path = None
    if path is None:
        raise ValueError(
            f"no model {model!r}: give one of {', '.join(EMBEDDED)}, a folder with config.json, or "
            f"a hub id that can be reached or is in the cache"
        )
    return Path(path)


def _model_type(config: Path, model: str) -> str:
    try:
        return str(json.loads(config.read_text())["model_type"])
    except (ValueError, KeyError) as error:
        raise ValueError(f"cannot load {model!r}: its config.json is broken ({error})") from error
