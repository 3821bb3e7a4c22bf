"""Weight files of a model and the shapes in them, in a folder or still on a hub."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from hawk.targets import hub
from hawk.targets.source import Source
from hawk.targets.weight_files import (
    INDEX,
    SINGLE,
    local_shards,
    require,
    shard_names,
    tensors_of,
    without_weights,
)

TEXT_FOLDER = "text_encoder"  # folder of LlamaGen's text encoder in that of the model
IMAGE_TOKENIZER = "vqmodel."  # part of the names of the image tokenizer's weights
Shape = tuple[str, tuple[int, ...]]


def weight_names(source: Source) -> list[str] | None:
    """Names of the weight files; None where they are unknown. ValueError where some are missing."""
    if source.local is not None:
        return [file.name for file in local_shards(source.local)]
    sizes = source.listing()
    if sizes is None:
        return None
    if SINGLE in sizes:
        return [SINGLE]
    index = source.file(INDEX)
    if index is None:
        raise ValueError(without_weights(sizes))
    names = shard_names(index)
    require(names, sizes)
    return names


def shapes(source: Source, config: Any) -> list[Shape] | None:
    """Name and shape of each weight that is loaded; None where only a download would tell.

    Args:
        source: Source of the model.
        config: Contents of config.json.
    """
    found = _shapes(source)
    if found is None or "text_encoder" not in config:
        return found
    # A published T5 has an encoder and a decoder, of which the encoder is loaded.
    text = _shapes(text_source(source, config))
    if text is None:
        return None
    return found + [
        (name, shape) for name, shape in text if not name.startswith(("decoder.", "lm_"))
    ]


def text_source(source: Source, config: Any) -> Source:
    """Source of LlamaGen's text encoder: its folder, or the location in config.json."""
    inside = Path(source.location) / TEXT_FOLDER
    where = inside if inside.exists() else config["text_encoder"]
    return replace(source, location=where, name=str(where), revision=None, size=None, others=())


def _shapes(source: Source) -> list[Shape] | None:
    if source.local is not None:
        return [shape for file in source.local.glob("*.safetensors") for shape in _in_file(file)]
    found: list[Shape] = []
    names = weight_names(source)
    if names is None:
        return None
    for name in names:
        head = hub.shapes(str(source.location), source.revision, name)
        if head is None:
            return None
        found += head
    return found


def _in_file(file: Path) -> Iterator[Shape]:
    prefix = IMAGE_TOKENIZER if file.name.startswith("vq") else ""
    for name, shape in tensors_of(file):
        yield prefix + name, shape
