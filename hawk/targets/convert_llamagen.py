"""Conversion of published LlamaGen checkpoints to a folder that Hawk loads.

They are two files of its own code: the transformer, and the image tokenizer, which is that of Janus
under other names. The text encoder is a T5 of a hub.
"""

import itertools
import json
import re
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor, nn

from hawk.targets import llamagen
from hawk.targets.checkpoint import read_pickle

HEADS = {3200: 32, 4096: 32}  # number of heads by width; other published widths have heads of 64
SIMPLE = {
    "tok_embeddings.weight": "decoder.embed_tokens.weight",
    "norm.weight": "decoder.norm.weight",
    "output.weight": "head.weight",
    "cls_embedding.cap_proj.fc1.weight": "fc1.weight",
    "cls_embedding.cap_proj.fc2.weight": "fc2.weight",
    "cls_embedding.uncond_embedding": "null",
}
IN_LAYERS = {
    "attention.wo.weight": "self_attn.o_proj.weight",
    "feed_forward.w1.weight": "mlp.gate_proj.weight",
    "feed_forward.w2.weight": "mlp.down_proj.weight",
    "feed_forward.w3.weight": "mlp.up_proj.weight",
    "attention_norm.weight": "input_layernorm.weight",
    "ffn_norm.weight": "post_attention_layernorm.weight",
}
VQ_NAMES = (
    (r"^encoder\.conv_blocks\.(\d+)\.", r"encoder.down.\1."),
    (r"^decoder\.conv_blocks\.(\d+)\.", r"decoder.up.\1."),
    (r"\.res\.(\d+)\.", r".block.\1."),
    (r"\.mid\.0\.", ".mid.block_1."),
    (r"\.mid\.1\.", ".mid.attn_1."),
    (r"\.mid\.2\.", ".mid.block_2."),
)


def convert_llamagen(
    gpt: Path, out: Path, *, vq: Path, size: tuple[int, int], text_encoder: str
) -> None:
    """Write a folder for LlamaGen.

    Args:
        gpt: File of the transformer, `t2i_XL_stage1_256.pt` or `t2i_XL_stage2_512.pt`.
        out: Folder to write; it must not exist.
        vq: File of the image tokenizer, `vq_ds16_t2i.pt`.
        size: (height, width) in pixels of the training stage: 256 x 256 or 512 x 512.
        text_encoder: Hub id or folder of the T5 whose encodings it reads.
    """
    height, width = size
    if height != width or height % llamagen.PATCH:
        raise ValueError(f"LlamaGen draws squares of whole cells, got {width} x {height}")
    published, tokenizer = read_pickle(gpt), _tokenizer(vq)
    if "cls_embedding.uncond_embedding" not in published:
        raise ValueError(f"{gpt} reads class labels, not text: give a t2i checkpoint")
    grid = height // llamagen.PATCH
    try:
        own = _config(published, grid)
        own |= {"text_encoder": text_encoder, "vq": _vq_config(tokenizer, grid)}
        weights = _weights(published, own)
    except (KeyError, ValueError) as error:
        raise ValueError(f"{gpt} and {vq} are no whole LlamaGen checkpoints: {error}") from error
    _check(llamagen.load_empty(own), weights, gpt)
    _check(llamagen.load_empty_vq(own), tokenizer, vq)
    out.mkdir(parents=True)
    save_file(weights, out / llamagen.MODEL_FILE, metadata={"format": "pt"})
    save_file(tokenizer, out / llamagen.VQ_FILE, metadata={"format": "pt"})
    (out / "config.json").write_text(json.dumps(own, indent=2), encoding="utf-8")


def _check(model: nn.Module, weights: dict[str, Tensor], file: Path) -> None:
    try:
        model.load_state_dict(weights, assign=True)
    except RuntimeError as error:
        raise ValueError(f"{file} is no whole LlamaGen checkpoint: {error}") from error


def _config(published: dict[str, Tensor], grid: int) -> dict[str, Any]:
    words, width = published["tok_embeddings.weight"].shape
    heads = HEADS.get(width, width // 64)
    rows = len(published["layers.0.attention.wqkv.weight"])
    text_tokens, text_width = published["cls_embedding.uncond_embedding"].shape
    return {
        "model_type": "llamagen",
        "vocab_size": words,
        "hidden_size": width,
        "intermediate_size": len(published["layers.0.feed_forward.w1.weight"]),
        "num_hidden_layers": sum(name.endswith("attention.wo.weight") for name in published),
        "num_attention_heads": heads,
        "num_key_value_heads": (rows * heads // width - heads) // 2,
        "rms_norm_eps": 1e-5,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
        "max_position_embeddings": text_tokens + grid**2,
        "text_tokens": text_tokens,
        "text_width": text_width,
        "grid": grid,
    }


def _weights(published: dict[str, Tensor], own: dict[str, Any]) -> dict[str, Tensor]:
    heads, groups = own["num_attention_heads"], own["num_key_value_heads"]
    head_size = own["hidden_size"] // heads
    made: dict[str, Tensor] = {}
    for name, weight in published.items():
        layer = re.match(r"layers\.(\d+)\.(.+)", name)
        if layer is None:
            if name in SIMPLE:  # else a buffer of the official code
                made[SIMPLE[name]] = weight
        elif layer[2] == "attention.wqkv.weight":
            sizes = [head_size * heads, head_size * groups, head_size * groups]
            query, key, value = weight.split(sizes)
            prefix = f"decoder.layers.{layer[1]}.self_attn"
            made[f"{prefix}.q_proj.weight"] = _halves(query, head_size)
            made[f"{prefix}.k_proj.weight"] = _halves(key, head_size)
            made[f"{prefix}.v_proj.weight"] = value
        else:
            made[f"decoder.layers.{layer[1]}.{IN_LAYERS[layer[2]]}"] = weight
    return {name: weight.contiguous() for name, weight in made.items()}


def _halves(weight: Tensor, head_size: int) -> Tensor:
    """Weights with rotary pairs half a head apart, as in transformers; official pairs are
    neighbours."""
    return weight.view(-1, head_size // 2, 2, weight.shape[1]).transpose(1, 2).reshape(weight.shape)


def _tokenizer(file: Path) -> dict[str, Tensor]:
    made: dict[str, Tensor] = {}
    for name, weight in read_pickle(file).items():
        for pattern, replacement in VQ_NAMES:
            name = re.sub(pattern, replacement, name)
        made[name] = weight.contiguous()
    made.pop("quantize.codebook_used", None)  # a count kept in training
    return made


def _vq_config(tokenizer: dict[str, Tensor], grid: int) -> dict[str, Any]:
    codes, code_size = tokenizer["quantize.embedding.weight"].shape
    base = len(tokenizer["encoder.conv_in.weight"])
    levels = _numbered(tokenizer, "encoder.down.{}.block.0.conv1.weight")
    return {
        "num_embeddings": codes,
        "embed_dim": code_size,
        "latent_channels": len(tokenizer["post_quant_conv.weight"]),
        "base_channels": base,
        "channel_multiplier": [len(weight) // base for weight in levels],
        "num_res_blocks": len(_numbered(tokenizer, "encoder.down.0.block.{}.conv1.weight")),
        "num_patches": grid,
    }


def _numbered(weights: dict[str, Tensor], pattern: str) -> list[Tensor]:
    """Weights whose names are a pattern filled with 0, 1, 2, ..."""
    names = (pattern.format(number) for number in itertools.count())
    return [weights[name] for name in itertools.takewhile(weights.__contains__, names)]
