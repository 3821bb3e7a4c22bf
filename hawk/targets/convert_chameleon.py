"""Conversion of published Chameleon checkpoints to folders that Hawk loads.

Chameleon, Anole and Lumina-mGPT are published without the decoder for pixels, which comes in the
`vqgan.ckpt` of Meta's Chameleon release; Lumina-mGPT also stores its query and key norms once for
all heads of a shard (see its card of Chameleon_7B_mGPT), where transformers has one for each head.
"""

import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import ChameleonConfig

from hawk.targets import vq
from hawk.targets.checkpoint import read_pickle

COPIED = ("*.json", "*.txt", "*.model", "README*", "LICENSE*")


def convert_chameleon(
    folder: Path, out: Path, *, family: str, vqgan: Path | None, size: tuple[int, int] | None
) -> None:
    """Write a folder for Anole (`family` "chameleon") or Lumina-mGPT ("lumina_mgpt").

    Args:
        folder: a checkpoint in the layout of transformers.
        out: folder to write; it must not exist.
        vqgan: Meta's `vqgan.ckpt`; None where the checkpoint itself has the decoder.
        size: (height, width) in pixels to draw in, for Lumina-mGPT; None is 768 x 768.
    """
    config = ChameleonConfig.from_pretrained(folder)
    shards = sorted(folder.glob("*.safetensors"))
    if not shards:
        raise ValueError(f"no *.safetensors in {folder}: save it with transformers first")
    decoder = _vq_decoder(shards, vqgan)
    try:
        vq.VQDecoder(config.vq_config).load_state_dict(decoder)
    except RuntimeError as error:
        raise ValueError(f"the decoder for pixels does not fit the model: {error}") from error
    out.mkdir(parents=True)
    for file in (file for pattern in COPIED for file in folder.glob(pattern)):
        shutil.copyfile(file, out / file.name)
    for shard in shards:
        weights = {name: _for_each_head(name, w, config) for name, w in load_file(shard).items()}
        save_file(weights, out / shard.name, metadata={"format": "pt"})
    save_file(decoder, out / vq.FILE, metadata={"format": "pt"})
    own = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    own |= {"model_type": "chameleon", "hawk_family": family}
    if size is not None:
        own["hawk_size"] = list(size)
    (out / "config.json").write_text(json.dumps(own, indent=2), encoding="utf-8")


def _vq_decoder(shards: list[Path], vqgan: Path | None) -> dict[str, Tensor]:
    if vqgan is not None:
        return _parts(read_pickle(vqgan), "")
    found = {}
    for shard in shards:
        found |= _parts(load_file(shard), "model.vqmodel.")
    if not any(name.startswith("decoder.") for name in found):
        raise ValueError("this checkpoint has no decoder for pixels: give Meta's vqgan.ckpt (--vq)")
    return found


def _parts(weights: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """What the decoder for pixels consists of, without the prefix."""
    return {
        name.removeprefix(prefix): weight.contiguous()
        for name, weight in weights.items()
        if name.removeprefix(prefix).startswith(vq.PARTS) and name.startswith(prefix)
    }


def _for_each_head(name: str, weight: Tensor, config: Any) -> Tensor:
    norm = re.search(r"\.([qk])_norm\.(?:weight|bias)$", name)
    if norm is None:
        return weight
    heads = config.num_attention_heads if norm[1] == "q" else config.num_key_value_heads
    stored = weight.view(-1, config.hidden_size // config.num_attention_heads)
    return stored.repeat_interleave(heads // len(stored), 0)
