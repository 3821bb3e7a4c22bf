"""Preflight: models that cannot load are refused before anything large is downloaded or read."""

import contextlib
import json
from collections.abc import Collection, Mapping
from typing import Any

from hawk.targets import hub, load_errors, memory_estimate
from hawk.targets.memory_estimate import Family
from hawk.targets.source import NO_TOKENIZER, VOCABULARIES, Source
from hawk.targets.weight_files import without_weights
from hawk.targets.weight_shapes import weight_names

# Copies for transformers of models in their authors' own layout; those of Janus by hidden size.
JANUS_COPIES = {2048: "deepseek-community/Janus-Pro-1B", 4096: "deepseek-community/Janus-Pro-7B"}
EMU3_COPY = "BAAI/Emu3-Gen-hf"


def config(source: Source) -> Any:
    """Contents of config.json. ValueError where the model, or the file in it, is not found."""
    try:
        return source.config()
    except (OSError, *hub.NO_ANSWER) as error:
        names = source.listing()
        if names is None or "config.json" in names:
            raise ValueError(load_errors.absent(source, error)) from error
        why = _without_config(source, names)
    except ValueError as error:
        why = f"its config.json is broken ({error}): get its files again"
    raise ValueError(f"cannot load {source.name!r}: {why}")


def family(config: Any, known: Collection[str]) -> str:
    """Family of a model, one of `known`. ValueError where it is none of them."""
    if not isinstance(config, dict) or "model_type" not in config:
        raise ValueError("its config.json is broken (no model_type): get its files again")
    found = str(config.get("hawk_family", config["model_type"]))
    if found not in known:
        raise ValueError(
            _original(config)
            or f"it is a {found!r} model, and Hawk runs {', '.join(known)} (`hawk models`)"
        )
    return found


def fetch(source: Source, family: Family | None, images: int = 1) -> Source:
    """The model in a folder of this machine, with all weights. ValueError where weights are missing
    or do not fit disk or memory, which is found before they are downloaded.

    Args:
        source: Model to fetch.
        family: Family of the model; None for a part that makes no pixels.
        images: Number of images in flight.
    """
    weights = weight_names(source)
    if source.local is None:
        if weights is not None:
            _check_repository(source, weights)
            memory_estimate.check(source, family, images)
        source = source.fetched(weights or ["model*.safetensors"])  # files in the cache
        weight_names(source)
    memory_estimate.check(source, family, images)
    return source


def _check_repository(source: Source, weights: Collection[str]) -> None:
    """ValueError where a repository has no tokenizer, or the cache no room for its weights."""
    sizes, place = source.listing() or {}, str(source.location)
    if "text_encoder" not in source.config() and not any(name in sizes for name in VOCABULARIES):
        raise ValueError(NO_TOKENIZER)
    commit = source.folder().name  # name of a snapshot in the cache
    new = [name for name in weights if hub.cached(place, commit, name) is None]
    hub.check_disk({name: sizes[name] for name in new})


def _original(config: Mapping[str, Any]) -> str | None:
    """Advice about a model in the layout of its authors' own code; None for any other."""
    kind = config["model_type"]
    if kind == "Emu3":
        return (
            f"it is Emu3 in the layout of its authors' own code, which Hawk does not read: give "
            f"{EMU3_COPY}, the same weights in that of transformers"
        )
    if kind != "multi_modality":
        return None
    if "gen_vision_config" not in config:
        return "it is JanusFlow, which draws by rectified flow and not token by token"
    copy = JANUS_COPIES.get(config.get("language_config", {}).get("hidden_size", 0))
    return (
        f"it is Janus in the layout of its authors' own code, which Hawk does not read: give "
        f"{copy or 'a copy'}, the same weights in that of transformers, or convert your own with "
        f"convert_janus_weights_to_hf.py of its repository"
    )


def _without_config(source: Source, names: Collection[str]) -> str:
    """Advice about a folder or repository without a config.json, by the files that it has."""
    tops = {name.split("/")[0] for name in names}
    if "adapter_config.json" in tops:
        return _adapter(source)
    if "model_index.json" in tops:
        return "it is a pipeline of diffusers, and Hawk runs autoregressive models (`hawk models`)"
    if {"models", "tokenizer"} <= tops:
        return (
            "it is Chameleon in the layout of its authors' own code: get leloy/Anole-7b-v0.1-hf "
            "and run `hawk convert anole`"
        )
    if any(name.startswith(("t2i_", "vq_ds16")) for name in tops):
        return (
            "it holds files of LlamaGen's own code: download them and run `hawk convert llamagen "
            "t2i_XL_stage2_512.pt OUT --vq vq_ds16_t2i.pt --size 512x512`"
        )
    if any(name.endswith(".gguf") for name in tops):
        return without_weights(tops)
    return "there is no config.json in it: give the folder or repository of a model"


def _adapter(source: Source) -> str:
    file, base = source.file("adapter_config.json"), None
    with contextlib.suppress(ValueError, AttributeError):  # told without, where it is broken
        base = json.loads(file.read_text("utf-8")).get("base_model_name_or_path") if file else None
    return (
        f"it is an adapter (LoRA) for {base or 'another model'}: merge it into that model "
        f"(merge_and_unload of peft, then save_pretrained) and give the merged folder"
    )
