"""Weights: the folder of a trained drafter, and whether it fits a target.

A folder holds `model.safetensors` and `config.json`: the kind of drafter, the target it was trained
for (name, revision, sizes), the sizes of its network, and what it was trained on.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from hawk.decoding.grid import Identity

CONFIG, MODEL = "config.json", "model.safetensors"
DECISIVE = ("target_revision", "grid", "vocabulary", "hidden_size")  # fields that have to be equal
N = TypeVar("N", bound=nn.Module)


def save(
    folder: Path,
    kind: str,
    identity: Identity,
    module: nn.Module,
    *,
    network: Mapping[str, Any],
    training: Mapping[str, Any],
) -> None:
    """Write a drafter in half precision.

    Args:
        folder: Folder to write.
        kind: Kind of drafter.
        identity: Target that it was trained for.
        module: Its network.
        network: Keyword arguments that make the module anew.
        training: Facts about its training, for people.
    """
    folder.mkdir(parents=True, exist_ok=True)
    state = {name: value.half().contiguous() for name, value in module.state_dict().items()}
    save_file(state, folder / MODEL)
    config = {
        "kind": kind,
        **_fields(identity),
        "network": dict(network),
        "training": dict(training),
    }
    (folder / CONFIG).write_text(json.dumps(config, indent=2) + "\n")


def read_config(folder: Path) -> dict[str, Any]:
    """`config.json` of a drafter's folder. ValueError where it is missing or broken."""
    try:
        config = json.loads((folder / CONFIG).read_text())
        missing = {"kind", "network", *DECISIVE} - set(config)
    except (OSError, ValueError, TypeError) as error:
        raise ValueError(f"{folder} is not a trained drafter: {error}") from error
    if missing:
        raise ValueError(f"{folder} is not a trained drafter: {CONFIG} lacks {sorted(missing)}")
    return config


def fits(kind: str, identity: Identity) -> bool:
    """Whether there are weights of that kind for exactly this target."""
    folder = identity.drafters.get(kind)
    return folder is not None and _difference(read_config(folder), identity) is None


def preferred(kind: str, identity: Identity) -> bool:
    """Whether `auto` takes that kind: it fits, and its `config.json` does not say `"auto": false`,
    which marks a drafter that was measured to be no faster than one without training."""
    return fits(kind, identity) and read_config(identity.drafters[kind]).get("auto", True)


def load(kind: str, identity: Identity, network: type[N], device: torch.device) -> N:
    """The network of a kind of drafter for a target. ValueError where there is none that fits."""
    again = f"train one: hawk train drafter --model {identity.name} --kind {kind}"
    folder = identity.drafters.get(kind)
    if folder is None:
        raise ValueError(f"no trained {kind!r} drafter for {identity.name}; {again}")
    config = read_config(folder)
    if difference := _difference(config, identity):
        raise ValueError(f"the drafter in {folder} is for another target ({difference}); {again}")
    module = network(identity, **config["network"])
    try:
        module.load_state_dict(load_file(folder / MODEL))
    except Exception as error:  # safetensors raises bare Exception
        raise ValueError(f"cannot load the drafter in {folder}: {error}; {again}") from error
    return module.float().eval().requires_grad_(requires_grad=False).to(device)


def _fields(identity: Identity) -> dict[str, Any]:
    return {
        "target": identity.name,
        "target_revision": identity.revision,
        "grid": [identity.grid.height, identity.grid.width],
        "vocabulary": identity.vocabulary,
        "hidden_size": identity.hidden_size,
    }


def _difference(config: Mapping[str, Any], identity: Identity) -> str | None:
    """First field in which a drafter's target differs; names may, since folders are moved."""
    own = _fields(identity)
    for key in DECISIVE:
        if config[key] != own[key]:
            return f"its {key} is {config[key]}, this target's is {own[key]}"
    return None
