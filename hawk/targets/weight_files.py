"""Weight files of a model's folder, checked before anything large is read.

All are safetensors. Transformers reads `model.safetensors`, or else the files that the index names.
"""

import json
from collections.abc import Collection, Iterator
from pathlib import Path

from safetensors import SafetensorError, safe_open

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
PICKLES = (".bin", ".pt", ".pth", ".ckpt")


def shard_names(index: Path) -> list[str]:
    """File names in an index. ValueError where the index is broken."""
    try:
        return sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{index.name} is broken ({error}): get it again") from error


def local_shards(folder: Path) -> list[Path]:
    """Weight files of a folder. ValueError where some are missing or broken."""
    there = {file.name for file in folder.iterdir()}
    if SINGLE in there:
        shards = [folder / SINGLE]
    elif INDEX in there:
        names = shard_names(folder / INDEX)
        require(names, there)
        shards = [folder / name for name in names]
    else:
        raise ValueError(without_weights(there))
    for shard in shards:
        check_file(shard)
    return shards


def require(names: Collection[str], there: Collection[str]) -> None:
    """ValueError where files that an index names are missing."""
    missing = sorted(set(names) - set(there))
    if missing:
        raise ValueError(
            f"{len(missing)} of {len(names)} weight files are missing, {missing[0]} among them: "
            f"get them again"
        )


def check_file(file: Path) -> None:
    """ValueError unless a file is a whole safetensors file."""
    for _ in tensors_of(file):
        pass


def tensors_of(file: Path) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Name and shape of each tensor, from the header of a file. ValueError unless it is a whole
    safetensors file."""
    try:
        with safe_open(file, "pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118  # it is no mapping
                yield name, tuple(tensors.get_slice(name).get_shape())
    except SafetensorError as error:
        raise ValueError(
            f"{file.name} is cut short or no safetensors file ({error}): get it again"
        ) from error


def without_weights(there: Collection[str]) -> str:
    """Advice about a model that has no safetensors, by the files that it has."""
    there = [name for name in there if "/" not in name]
    if "adapter_model.safetensors" in there:
        return (
            "it holds an adapter (LoRA) only: merge it into its model (merge_and_unload of peft, "
            "then save_pretrained) and give the merged folder"
        )
    if any(name.endswith(".gguf") for name in there):
        return "it is in GGUF, the format of llama.cpp: give the model that it was made from"
    if any(name.endswith(".safetensors") for name in there):
        return f"it has neither {SINGLE} nor {INDEX}: get its files again"
    pickles = sorted(name for name in there if name.endswith(PICKLES))
    if pickles:
        return (
            f"its weights are pickles ({pickles[0]}), which can run code when they are read, and "
            f"Hawk reads safetensors only: give a copy that has {SINGLE}, or load it once with "
            f"transformers and save it with save_pretrained"
        )
    return f"there are no weights in it, no {SINGLE} and no {INDEX}: get its files again"
