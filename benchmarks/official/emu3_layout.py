"""Emu3 in the layout of BAAI, a language model and an image tokenizer, in that of transformers.

Tokenizer after `convert_emu3_weights_to_hf.py` of github.com/huggingface/transformers at 084673d;
names of the image tokenizer are those of the modules in transformers 5.24, which renames prefixes
alone when it loads.
"""

import base64
import json
import re
from pathlib import Path

from safetensors.torch import load_file, save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from torch import Tensor
from transformers import PreTrainedTokenizerFast
from transformers.convert_slow_tokenizer import bytes_to_unicode

VQ_SETTINGS = {
    "codebook_size": "codebook_size",
    "ch": "base_channels",
    "ch_mult": "channel_multiplier",
    "num_res_blocks": "num_res_blocks",
    "attn_resolutions": "attn_resolutions",
    "temporal_downsample_factor": "temporal_downsample_factor",
}
VQ_NAMES = (
    (r"^encoder\.down\.", "encoder.down_block.down."),
    (r"^decoder\.up\.", "decoder.up_block.up."),
    (r"\.mid\.attn_1\.norm\.", ".mid.attn_norm."),
    (r"\.attn\.(\d+)\.norm\.", r".attn_norms.\1."),
    (r"\.mid\.", ".middle_block."),
    (r"(\.attn_1|\.attn\.\d+)\.([qkv])\.", r"\1.\2_proj."),
    (r"(\.attn_1|\.attn\.\d+)\.proj_out\.", r"\1.out_proj."),
)
TEXT_SETTINGS = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "max_position_embeddings",
    "bos_token_id",
    "eos_token_id",
    "pad_token_id",
)


def convert(folder: Path, out: Path) -> None:
    """Write `out` from `llm` and `vq`, a safetensors and a json file each, and the vocabulary."""
    out.mkdir()
    language, vq = (json.loads((folder / f"{part}.json").read_text()) for part in ("llm", "vq"))
    weights = {
        f"text_model.{name}": weight
        for name, weight in load_file(folder / "llm.safetensors").items()
    }
    weights |= vq_weights(load_file(folder / "vq.safetensors"))
    save_file(weights, out / "model.safetensors", metadata={"format": "pt"})
    words = _tokenizer(folder)
    words.save_pretrained(out)
    channels = vq["ch"] * vq["ch_mult"][-1]
    own = {
        "model_type": "emu3",
        "text_config": {name: language[name] for name in TEXT_SETTINGS},
        "vq_config": {new: vq[old] for old, new in VQ_SETTINGS.items()} | {"hidden_size": channels},
        "vocabulary_map": words.get_vocab(),
    }
    (out / "config.json").write_text(json.dumps(own), encoding="utf-8")


def vq_weights(official: dict[str, Tensor]) -> dict[str, Tensor]:
    """The image tokenizer under the names of transformers, which has matrices for 1x1 convolutions
    in attention."""
    made = {}
    for name, weight in official.items():
        for pattern, replacement in VQ_NAMES:
            name = re.sub(pattern, replacement, name)
        if re.search(r"_proj\.weight$", name):
            weight = weight.flatten(1)
        made[f"vqmodel.{name}"] = weight.contiguous()
    return made


def _tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    spelled, words, merges = bytes_to_unicode(), {}, []
    for line in (folder / "emu3.tiktoken").read_text().splitlines():
        token, rank = line.split()
        letters = [spelled[byte] for byte in base64.b64decode(token)]
        words["".join(letters)] = int(rank)
        if len(letters) == 2:
            merges.append((letters[0], letters[1]))
    specials = json.loads((folder / "special_tokens.json").read_text())
    specials["<image>"] = len(words) + len(specials)  # of the processor, for images in prompts
    made = Tokenizer(models.BPE(vocab=words | specials, merges=merges))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens([AddedToken(token, special=True) for token in specials])
    return PreTrainedTokenizerFast(
        tokenizer_object=made,
        bos_token="<|extra_203|>",
        eos_token="<|extra_204|>",
        pad_token="<|endoftext|>",
    )
