"""Targets: the models that Hawk speeds up."""

from collections.abc import Sequence
from pathlib import Path

import torch

from hawk.decoding.grid import Identity
from hawk.decoding.target import Target
from hawk.targets import load_errors, preflight
from hawk.targets.chameleon import Chameleon, Lumina
from hawk.targets.emu3 import Emu3
from hawk.targets.janus import Janus
from hawk.targets.llamagen import LlamaGen
from hawk.targets.revision import fingerprint
from hawk.targets.source import EMBEDDED, Source

DRAFTER_CONFIGS = "drafters/*/config.json"  # trained drafters in a model's folder
# Families by `model_type` of config.json, or by `hawk_family` where `hawk convert` wrote it.
FAMILIES = {
    "janus": Janus,
    "emu3": Emu3,
    "chameleon": Chameleon,
    "lumina_mgpt": Lumina,
    "llamagen": LlamaGen,
}


def load_target(  # noqa: PLR0913  each is a choice of its own
    model: str,
    *,
    dtype: torch.dtype,
    device: torch.device,
    others: Sequence[torch.device] = (),
    size: tuple[int, int] | None = None,
    compile: bool = False,  # as torch calls it
    slots: int = 1,
    prompt_limit: int | None = None,
) -> Target:
    """Load an embedded model by name, or any other from a folder or transformers hub id.

    Args:
        model: Name, folder or hub id; a hub id may end in `@` and a commit, tag or branch.
        others: Further devices that share the decoder's layers, see
            `hawk.targets.layer_placement`.
        size: (height, width) of the images in pixels, for families that have a choice.
        compile: True compiles the decoder's layers, see `DecoderTarget.compile`.
        slots: Number of images in flight that must fit into memory.
        prompt_limit: Tokens of the longest prompt; None is `PROMPT_LIMIT`, or fewer where the model
            has fewer positions.

    ValueError where the model cannot be found or its family is not supported.
    """
    location, revision = locate(model)
    source = Source(
        location=location,
        name=model,
        revision=revision,
        size=size,
        dtype=dtype,
        device=device,
        others=tuple(others),
    )
    config = preflight.config(source)
    try:
        family = FAMILIES[preflight.family(config, FAMILIES)]
        source = preflight.fetch(source, family, slots)
        target = family.load(source)
        if prompt_limit is not None:
            target.limit_prompts(prompt_limit)
        target.identity = _identity(source, target)
    except torch.OutOfMemoryError:
        raise
    except ValueError as error:
        raise ValueError(f"cannot load {model!r}: {error}") from error
    except Exception as error:  # tokenizers and safetensors raise bare Exception
        raise ValueError(f"cannot load {model!r}: {load_errors.unread(error)}") from error
    if compile:
        target.compile()
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


def locate(model: str) -> tuple[str | Path, str | None]:
    """Folder or hub id of a model by its name, and the revision of a hub id. The name of a folder
    may hold an `@`."""
    if model in EMBEDDED:
        return EMBEDDED[model], None
    if "@" not in model or Path(model).exists():
        return model, None
    location, _, revision = model.partition("@")
    return location, revision
