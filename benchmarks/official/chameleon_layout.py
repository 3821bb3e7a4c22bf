"""Chameleon in the layout of Meta's release, written in that of transformers.

After `convert_chameleon_weights_to_hf.py` of github.com/huggingface/transformers at 0197608: rotary
pairs half a head apart, norms of queries and keys once for each head, no decoder for pixels.
"""

import json
import re
import shutil
from pathlib import Path

import yaml
from safetensors.torch import save_file
from torch import Tensor

from hawk.targets.checkpoint import read_pickle

NAMES = {
    "tok_embeddings.": "model.embed_tokens.",
    "norm.": "model.norm.",
    "output.": "lm_head.",
    "attention.wq.": "self_attn.q_proj.",
    "attention.wk.": "self_attn.k_proj.",
    "attention.wv.": "self_attn.v_proj.",
    "attention.wo.": "self_attn.o_proj.",
    "attention.q_normalization.": "self_attn.q_norm.",
    "attention.k_normalization.": "self_attn.k_norm.",
    "feed_forward.w1.": "mlp.gate_proj.",
    "feed_forward.w2.": "mlp.down_proj.",
    "feed_forward.w3.": "mlp.up_proj.",
    "attention_norm.": "input_layernorm.",
    "ffn_norm.": "post_attention_layernorm.",
}


def renamed(weights: dict[str, Tensor], heads: int) -> dict[str, Tensor]:
    made = {}
    for name, weight in weights.items():
        layered = re.match(r"layers\.(\d+)\.", name)
        rest = name.removeprefix(layered[0]) if layered else name
        old = next(prefix for prefix in NAMES if rest.startswith(prefix))
        new = NAMES[old] + rest.removeprefix(old)
        if old in ("attention.wq.", "attention.wk."):
            pairs = weight.view(heads, -1, 2, weight.shape[1])
            weight = pairs.transpose(1, 2).reshape(weight.shape)
        elif "_normalization" in old:
            weight = weight.view(-1, 2).t().reshape(1, -1).repeat_interleave(heads, 0)
        place = f"model.layers.{layered[1]}.{new}" if layered else new
        made[place] = weight.contiguous()
    return made


def convert(folder: Path, out: Path) -> None:
    """Write `out` from `consolidated.pth`, `params.json`, and the files of the tokenizers."""
    out.mkdir()
    params = json.loads((folder / "params.json").read_text())
    weights = renamed(read_pickle(folder / "consolidated.pth"), params["n_heads"])
    image = yaml.safe_load((folder / "vqgan.yaml").read_text())["model"]["params"]
    for name, weight in read_pickle(folder / "vqgan.ckpt").items():
        if "decoder" not in name:
            weights[f"model.vqmodel.{name}"] = weight
    save_file(weights, out / "model.safetensors", metadata={"format": "pt"})
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(folder / name, out / name)
    own = {
        "model_type": "chameleon",
        "vocab_size": len(weights["model.embed_tokens.weight"]),
        "hidden_size": params["dim"],
        "intermediate_size": len(weights["model.layers.0.mlp.gate_proj.weight"]),
        "num_attention_heads": params["n_heads"],
        "num_key_value_heads": params["n_heads"],
        "num_hidden_layers": params["n_layers"],
        "max_position_embeddings": 4096,
        "vocabulary_map": json.loads((out / "tokenizer.json").read_text())["model"]["vocab"],
        "vq_config": {
            "embed_dim": image["embed_dim"],
            "num_embeddings": image["n_embed"],
            "latent_channels": image["ddconfig"]["z_channels"],
            "base_channels": image["ddconfig"]["ch"],
            "channel_multiplier": image["ddconfig"]["ch_mult"],
            "num_res_blocks": image["ddconfig"]["num_res_blocks"],
            "attn_resolutions": image["ddconfig"]["attn_resolutions"],
        },
    }
    (out / "config.json").write_text(json.dumps(own), encoding="utf-8")
