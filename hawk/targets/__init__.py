"""Targets: the models that Hawk speeds up."""

from collections.abc import Sequence
from pathlib import Path

import torch
from huggingface_hub import is_offline_mode
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from hawk.identity import Identity
from hawk.targets import memory
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
        model: a hub id may end in `@` and a commit, tag or branch, which pins it.
        others: more devices, to divide the decoder's layers among; see `hawk.targets.split`.
        size: (height, width) of the images in pixels, for families that have a choice.
        compile: the decoder's layers, see `DecoderTarget.compile`.
        slots: images in flight that there has to be memory for.
        prompt_limit: longest prompt in tokens; None is `PROMPT_LIMIT`, or what the model has
            positions for.

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
    found = _family(source)
    if found not in FAMILIES:
        raise ValueError(f"{model!r} is a {found!r} model; Hawk runs {', '.join(FAMILIES)}")
    try:
        memory.check(source, slots)
        target = FAMILIES[found].load(source)
        if prompt_limit is not None:
            target.limit_prompts(prompt_limit)
        target.identity = _identity(source, target)
    except torch.OutOfMemoryError:
        raise
    except ValueError as error:
        raise ValueError(f"cannot load {model!r}: {error}") from error
    except Exception as error:  # tokenizers and safetensors raise bare Exception
        raise ValueError(f"cannot load {model!r}, get its files again: {error}") from error
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
    """Folder or hub id of a model by its name, and the revision of a hub id.

    A folder may have an `@` in its name.
    """
    if model in EMBEDDED:
        return EMBEDDED[model], None
    if "@" not in model or Path(model).exists():
        return model, None
    location, _, revision = model.partition("@")
    return location, revision


def _family(source: Source) -> str:
    try:
        config = source.config()
    except OSError as error:
        raise ValueError(_why_absent(source, error)) from error
    except ValueError as error:
        raise ValueError(
            f"cannot load {source.name!r}: its config.json is broken ({error})"
        ) from error
    if not isinstance(config, dict) or "model_type" not in config:
        raise ValueError(f"cannot load {source.name!r}: its config.json is broken (no model_type)")
    return str(config.get("hawk_family", config["model_type"]))


def _why_absent(source: Source, error: OSError) -> str:
    """What to do about a model that was not found, by what its hub said."""
    cause = error.__cause__
    if isinstance(cause, GatedRepoError):
        return (
            f"{source.name!r} is gated: accept its licence on its page of the hub, then set "
            f"HF_TOKEN or run `hf auth login`"
        )
    if isinstance(cause, RevisionNotFoundError):
        return (
            f"{source.location!r} has no revision {source.revision!r}: give a commit, tag or "
            f"branch of it behind the @"
        )
    if isinstance(cause, (LocalEntryNotFoundError, OfflineModeIsEnabled, HfHubHTTPError)) and (
        not isinstance(cause, RepositoryNotFoundError)
    ):
        offline = " (HF_HUB_OFFLINE is set)" if is_offline_mode() else ""
        return (
            f"no model {source.name!r} on this machine, and the hub cannot be reached{offline}: "
            f"give one of {', '.join(EMBEDDED)}, a folder, or a hub id once there is a connection"
        )
    return (
        f"no model {source.name!r}: give one of {', '.join(EMBEDDED)}, a folder with config.json, "
        f"or a hub id (of a private model, set HF_TOKEN)"
    )
