"""Conversion of published Chameleon checkpoints to folders that Hawk loads.

Chameleon, Anole and Lumina-mGPT are published without the decoder for pixels, and Lumina-mGPT
without any part of the image tokenizer: its `finetune_solver.py` deletes `model.vqmodel`. All of it
is in the `vqgan.ckpt` of Meta's Chameleon release. Lumina-mGPT also stores its query and key norms
once for all heads of a shard (see its card of Chameleon_7B_mGPT), where transformers has one for
each head.
"""

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import ChameleonConfig, ChameleonForConditionalGeneration

from hawk.targets import vq
from hawk.targets.chameleon import LUMINA_CLASS, VQGAN, VQGAN_SOURCES
from hawk.targets.checkpoint import read_pickle
from hawk.targets.weight_files import INDEX, local_shards, tensors_of

COPIED = ("*.json", "*.jinja", "*.txt", "*.model", "README*", "LICENSE*")
TOKENIZER = "model.vqmodel."  # the image tokenizer in the layout of transformers
FOLDERS = ("", "tokenizer", "original_tokenizers")  # where published repositories have vqgan.ckpt
WHERE = f"{VQGAN_SOURCES}: give it with --vq"


def convert_chameleon(
    folder: Path, out: Path, *, family: str, vqgan: Path | None, size: tuple[int, int] | None
) -> None:
    """Write a folder for Anole (`family` "chameleon") or Lumina-mGPT ("lumina_mgpt").

    Args:
        folder: Checkpoint in the layout of transformers.
        out: Folder to write; it must not exist.
        family: Family of the model.
        vqgan: Meta's `vqgan.ckpt`, or a folder with it; None where the checkpoint's folder or the
            checkpoint itself has it.
        size: (height, width) of images in pixels, for Lumina-mGPT; None is 768 x 768.

    ValueError where a part of the model is missing; nothing is written then.
    """
    own = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    if family == "chameleon" and LUMINA_CLASS in own.get("architectures", ()):
        raise ValueError(f"{folder} is a Lumina-mGPT checkpoint: use `hawk convert lumina`")
    config, shards = ChameleonConfig.from_pretrained(folder), local_shards(folder)
    tokenizer = _image_tokenizer(shards, find_vqgan(folder, vqgan))
    decoder = _decoder(tokenizer, config)
    added = _added(shards, tokenizer, config)
    out.mkdir(parents=True)
    for file in (file for pattern in COPIED for file in folder.glob(pattern)):
        shutil.copyfile(file, out / file.name)
    _write_shards(shards, added, config, out)
    save_file(decoder, out / vq.FILE, metadata={"format": "pt"})
    own |= {"model_type": "chameleon", "hawk_family": family}
    if size is not None:
        own["hawk_size"] = list(size)
    (out / "config.json").write_text(json.dumps(own, indent=2), encoding="utf-8")


def find_vqgan(folder: Path, given: Path | None) -> Path | None:
    """Path of `vqgan.ckpt`: the given file, or the file in the given folder or in that of the
    checkpoint; None where there is none. ValueError where the given folder has none."""
    if given is not None and not given.is_dir():
        return given
    for place in FOLDERS:
        if (found := (given or folder) / place / VQGAN).exists():
            return found
    if given is not None:
        raise ValueError(f"there is no {VQGAN} in {given}: {WHERE}")
    return None


def _image_tokenizer(shards: Sequence[Path], vqgan: Path | None) -> dict[str, Tensor]:
    """Weights of encoder, codebook and decoder, under the names of the official file."""
    if vqgan is not None:
        return read_pickle(vqgan)
    found: dict[str, Tensor] = {}
    for shard in shards:
        with safe_open(shard, "pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118  # it is no mapping
                if name.startswith(TOKENIZER):
                    found[name.removeprefix(TOKENIZER)] = tensors.get_tensor(name)
    if not any(name.startswith("decoder.") for name in found):
        raise ValueError(f"this checkpoint has no decoder for pixels: {WHERE}")
    return found


def _decoder(tokenizer: Mapping[str, Tensor], config: Any) -> dict[str, Tensor]:
    """Weights of the decoder for pixels. ValueError where they do not fit the model."""
    found = {name: w.contiguous() for name, w in tokenizer.items() if name.startswith(vq.PARTS)}
    with torch.device("meta"):
        empty = vq.VQDecoder(config.vq_config)
    try:
        empty.load_state_dict(found, assign=True)
    except RuntimeError as error:
        raise ValueError(
            f"the decoder for pixels does not fit the model: {VQGAN} is another model's"
        ) from error
    return found


def _added(
    shards: Sequence[Path], tokenizer: Mapping[str, Tensor], config: Any
) -> dict[str, Tensor]:
    """Weights of the image tokenizer that transformers' model has and the checkpoint lacks, which
    make the folder whole for transformers too. ValueError where a weight is in neither."""
    with torch.device("meta"):
        model: Any = ChameleonForConditionalGeneration(config)
    lacking = set(model.state_dict()) - set(model.all_tied_weights_keys)
    for shard in shards:
        lacking -= {name for name, _ in tensors_of(shard)}
    parts = {f"{TOKENIZER}{name}": weight for name, weight in tokenizer.items()}
    if missing := sorted(lacking - parts.keys()):
        mend = WHERE if missing[0].startswith(TOKENIZER) else "get its files again"
        raise ValueError(
            f"{len(missing)} weights of the model are missing, {missing[0]} among them: {mend}"
        )
    return {name: parts[name].contiguous() for name in sorted(lacking)}


def _write_shards(shards: Sequence[Path], added: dict[str, Tensor], config: Any, out: Path) -> None:
    """Write the checkpoint's files, the added weights in the first, and an index of several."""
    places: dict[str, str] = {}
    total_bytes = 0
    for shard in shards:
        weights = {name: _for_each_head(name, w, config) for name, w in load_file(shard).items()}
        weights |= added
        added = {}
        save_file(weights, out / shard.name, metadata={"format": "pt"})
        places |= dict.fromkeys(weights, shard.name)
        total_bytes += sum(weight.nbytes for weight in weights.values())
    if len(shards) > 1:
        index = {"metadata": {"total_size": total_bytes}, "weight_map": places}
        (out / INDEX).write_text(json.dumps(index, indent=2), encoding="utf-8")


def _for_each_head(name: str, weight: Tensor, config: Any) -> Tensor:
    norm = re.search(r"\.([qk])_norm\.(?:weight|bias)$", name)
    if norm is None:
        return weight
    heads = config.num_attention_heads if norm[1] == "q" else config.num_key_value_heads
    stored = weight.view(-1, config.hidden_size // config.num_attention_heads)
    return stored.repeat_interleave(heads // len(stored), 0)
