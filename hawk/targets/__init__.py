"""Targets: the models that Hawk speeds up."""

from pathlib import Path

import torch

from hawk.identity import Identity
from hawk.targets.base import Target
from hawk.targets.chameleon import Chameleon, Lumina
from hawk.targets.emu3 import Emu3
from hawk.targets.janus import Janus
from hawk.targets.llamagen import LlamaGen
from hawk.targets.revision import fingerprint
from hawk.targets.source import Source

EMBEDDED = {"emoji": Path(__file__).parent.parent / "assets" / "emoji"}
DRAFTER_CONFIGS = "drafters/*/config.json"  # trained drafters that lie beside a model
# By `model_type` of config.json, or `hawk_family` where `hawk convert` wrote one.
FAMILIES = {
    "janus": Janus,
    "emu3": Emu3,
    "chameleon": Chameleon,
    "lumina_mgpt": Lumina,
    "llamagen": LlamaGen,
}


def load_target(
    model: str,
    *,
    dtype: torch.dtype,
    device: torch.device,
    size: tuple[int, int] | None = None,
) -> Target:
    """Load an embedded model by name, or any other from a folder or transformers hub id.

    Args:
        model: a hub id may end in `@` and a commit, tag or branch, which pins it.
        size: (height, width) of the images in pixels, for families that have a choice.

    ValueError where the model cannot be found or its family is not supported.
    """
    location, revision = _split(model)
    source = Source(
        location=EMBEDDED.get(location, location),
        name=model,
        revision=revision,
        size=size,
        dtype=dtype,
        device=device,
    )
    found = _family(source)
    if found not in FAMILIES:
        raise ValueError(f"{model!r} is a {found!r} model; Hawk runs {', '.join(FAMILIES)}")
    try:
        target = FAMILIES[found].load(source)
        target.identity = _identity(source, target)
    except torch.OutOfMemoryError:
        raise
    except ValueError as error:
        raise ValueError(f"cannot load {model!r}: {error}") from error
    except Exception as error:  # tokenizers and safetensors raise bare Exception
        raise ValueError(f"cannot load {model!r}, get its files again: {error}") from error
    return target


def _identity(source: Source, target: Target) -> Identity:
    folder = source.folder()
    return Identity(
        name=source.name,
        revision=fingerprint(folder),
        grid=target.grid,
        vocabulary=target.vocabulary,
        hidden_size=target.hidden_size,
        drafters={file.parent.name: file.parent for file in folder.glob(DRAFTER_CONFIGS)},
    )


def _split(model: str) -> tuple[str, str | None]:
    """Hub id and revision; a folder may have an `@` in its name."""
    if "@" not in model or Path(model).exists():
        return model, None
    location, _, revision = model.partition("@")
    return location, revision


def _family(source: Source) -> str:
    try:
        config = source.config()
    except OSError as error:
        raise ValueError(
            f"no model {source.name!r}: give one of {', '.join(EMBEDDED)}, a folder with "
            f"config.json, or a hub id that can be reached or is in the cache"
        ) from error
    except ValueError as error:
        raise ValueError(
            f"cannot load {source.name!r}: its config.json is broken ({error})"
        ) from error
    if not isinstance(config, dict) or "model_type" not in config:
        raise ValueError(f"cannot load {source.name!r}: its config.json is broken (no model_type)")
    return str(config.get("hawk_family", config["model_type"]))
