"""Janus in the layout of deepseek-ai, written in that of transformers.

Names after `convert_janus_weights_to_hf.py` of github.com/huggingface/transformers at 0760f12.
"""

import json
import re
import shutil
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from hawk.targets.checkpoint import read_pickle

RENAMED = (
    (r"^vision_model\.vision_tower\.", "model.vision_model."),
    (r"^model\.vision_model\.blocks\.", "model.vision_model.encoder.layers."),
    (r"^(model\.vision_model\..*)\.attn\.proj\.", r"\1.self_attn.projection_layer."),
    (r"^(model\.vision_model\..*)\.attn\.", r"\1.self_attn."),
    (r"^(model\.vision_model\..*)\.norm([12])\.", r"\1.layer_norm\2."),
    (
        r"^model\.vision_model\.pos_embed$",
        "model.vision_model.embeddings.position_embedding.weight",
    ),
    (r"\.patch_embed\.proj\.", ".embeddings.patch_embedding."),
    (r"^model\.vision_model\.norm\.", "model.vision_model.post_layernorm."),
    (r"^gen_vision_model\.", "model.vqmodel."),
    (r"^(model\.vqmodel\.decoder\.)conv_blocks\.", r"\1up."),
    (r"^(model\.vqmodel\.encoder\.)conv_blocks\.", r"\1down."),
    (r"^(model\.vqmodel\..*)\.res\.", r"\1.block."),
    (r"\.mid\.0\.", ".mid.block_1."),
    (r"\.mid\.1\.", ".mid.attn_1."),
    (r"\.mid\.2\.", ".mid.block_2."),
    (r"^gen_aligner\.layers\.0\.", "model.generation_aligner.fc1."),
    (r"^gen_aligner\.layers\.2\.", "model.generation_aligner.hidden_layers.0."),
    (r"^aligner\.layers\.0\.", "model.aligner.fc1."),
    (r"^aligner\.layers\.2\.", "model.aligner.hidden_layers.0."),
    (r"^gen_head\.output_mlp_projector\.", "model.generation_head.proj_out."),
    (r"^gen_head\.", "model.generation_head."),
    (r"^gen_embed\.", "model.generation_embeddings."),
    (r"^language_model\.model\.", "model.language_model."),
    (r"^language_model\.lm_head\.", "lm_head."),
)
DROPPED = (".attn_pool.", "gen_vision_model.quantize.codebook_used")


def renamed(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tensors under the names of transformers, merged queries, keys and values apart."""
    made: dict[str, Tensor] = {}
    for old, weight in weights.items():
        if any(part in old for part in DROPPED):
            continue
        name = old
        for pattern, replacement in RENAMED:
            name = re.sub(pattern, replacement, name)
        if ".qkv." in name:
            for part, piece in zip("qkv", weight.chunk(3), strict=True):
                made[name.replace("qkv", f"{part}_proj")] = piece.contiguous()
        elif name.endswith("position_embedding.weight"):
            made[name] = weight[0].contiguous()
        else:
            made[name] = weight.contiguous()
    return made


def convert(folder: Path, out: Path, *, vision: dict[str, Any], vq: dict[str, Any]) -> None:
    """Write `out` from `folder`.

    Args:
        vision, vq: settings that the official config leaves to its code, by the names of it.
    """
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    out.mkdir()
    save_file(
        renamed(read_pickle(folder / "pytorch_model.bin")),
        out / "model.safetensors",
        metadata={"format": "pt"},
    )
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(folder / name, out / name)
    aligner, made = config["gen_aligner_config"]["params"], config["gen_vision_config"]["params"]
    own = {
        "model_type": "janus",
        "text_config": config["language_config"],
        "vision_config": {"projection_dim": aligner["n_embed"], "depth": aligner["depth"]} | vision,
        "vq_config": {
            "embed_dim": made["n_embed"],
            "num_embeddings": made["image_token_size"],
            "projection_dim": aligner["n_embed"],
            "image_token_embed_dim": config["gen_head_config"]["params"]["image_token_embed"],
        }
        | vq,
    }
    (out / "config.json").write_text(json.dumps(own), encoding="utf-8")
