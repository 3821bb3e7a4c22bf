"""Janus: `generate` of `generation_inference.py` on a tiny model in the layout of deepseek-ai.

    PYTHON -m benchmarks.official.janus CHECKOUT OUT

Needs torch, transformers 4, timm, einops.
"""
# The official code is on the path of its own run alone.
# pyright: reportMissingImports=false

import json
import sys
import types
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from benchmarks.official import theirs

PROMPTS = ["a red apple", "  the flag of Norway, and a tree "]
CODES, GRID, WIDTH, PATCH = 64, 6, 64, 2
BAR = "｜"  # noqa: RUF001  # as its vocabulary spells it
SPECIAL = [
    f"<{BAR}begin▁of▁sentence{BAR}>",
    f"<{BAR}end▁of▁sentence{BAR}>",
    f"<{BAR}▁pad▁{BAR}>",
    "<image_placeholder>",
    "<begin_of_image>",
    "<end_of_image>",
    "<|User|>",
    "<|Assistant|>",
]
TOKENIZER = {
    "tokenizer_class": "LlamaTokenizerFast",
    "bos_token": SPECIAL[0],
    "eos_token": SPECIAL[1],
    "pad_token": SPECIAL[2],
    "model_max_length": 16384,
    "add_bos_token": True,
    "legacy": True,
}


def main(checkout: Path, out: Path) -> None:
    theirs.absent("torchvision")
    attrdict: Any = types.ModuleType("attrdict")
    attrdict.AttrDict = type("AttrDict", (dict,), {"__getattr__": dict.__getitem__})
    sys.modules["attrdict"] = attrdict  # no longer works with Python 3.10
    sys.path.insert(0, str(checkout))
    theirs.on_cpu()
    import janus.models.vq_model as vq_code
    from janus.models import siglip_vit
    from janus.models.modeling_vlm import MultiModalityCausalLM, MultiModalityConfig
    from janus.models.processing_vlm import VLChatProcessor

    vq_code.VQ_models["VQ-tiny"] = lambda: vq_code.VQModel(
        vq_code.ModelArgs(
            codebook_size=CODES, encoder_ch_mult=[1, 1], decoder_ch_mult=[1, 1], z_channels=32
        )
    )
    siglip_vit.SigLIP_MODEL_CONFIG["siglip_tiny"] = {
        "image_size": GRID * PATCH,
        "patch_size": PATCH,
        "width": 8,
        "layers": 1,
        "heads": 1,
        "mlp_ratio": 1,
        "global_pool": "map",
        "use_checkpoint": False,
    }
    config = _config()
    model = MultiModalityCausalLM(MultiModalityConfig(**config)).float().eval()
    theirs.spread(model, {"vision_head.weight": 4.0, "gen_aligner": 3.0})
    _save(model, config, out)

    words = _tokenizer(out)
    processor: Any = VLChatProcessor.__new__(VLChatProcessor)  # the rest is for images
    processor.tokenizer, processor.sft_format = words, "deepseek"
    processor.image_start_tag, processor.pad_tag = "<begin_of_image>", SPECIAL[2]
    code = theirs.functions(checkout / "generation_inference.py", "generate")
    recorder, decoded = theirs.record_multinomial(), []
    decode = model.gen_vision_model.decode_code
    model.gen_vision_model.decode_code = lambda codes, shape: (
        decoded.append((codes, decode(codes, shape=shape))) or decoded[-1][1]
    )
    images = []
    for prompt in PROMPTS:
        turns = [{"role": "<|User|>", "content": prompt}, {"role": "<|Assistant|>", "content": ""}]
        text = processor.apply_sft_template_for_multi_turn_prompts(
            conversations=turns, sft_format=processor.sft_format, system_prompt=""
        )
        text += processor.image_start_tag
        recorder.begin([])
        code["generate"](
            model,
            processor,
            text,
            parallel_size=1,
            image_token_num_per_image=GRID**2,
            img_size=GRID * PATCH,
            patch_size=PATCH,
        )
        codes, pixels = decoded[-1]
        images.append(
            theirs.Image(
                prompt=prompt,
                row=words.encode(text),
                tokens_T=codes[0].long(),
                laws_TV=torch.cat(recorder.laws),
                pixels=((pixels[0].permute(1, 2, 0) + 1) / 2 * 255).clamp(0, 255),
            )
        )
    usual = theirs.defaults(code["generate"])
    theirs.save(out, float(usual["cfg_weight"]), {"temperature": usual["temperature"]}, images)


def _config() -> dict[str, Any]:
    aligner = {"depth": 2, "n_embed": WIDTH, "projector_type": "mlp_gelu"}
    return {
        "model_type": "multi_modality",
        "torch_dtype": "float32",
        "aligner_config": {"cls": "MlpProjector", "params": aligner | {"input_dim": 8}},
        "gen_aligner_config": {"cls": "MlpProjector", "params": aligner | {"input_dim": 8}},
        "gen_head_config": {
            "cls": "vision_head",
            "params": {"image_token_embed": WIDTH, "image_token_size": CODES, "n_embed": WIDTH},
        },
        "gen_vision_config": {
            "cls": "VQ-tiny",
            "params": {"image_token_size": CODES, "n_embed": 8},
        },
        "language_config": {
            "model_type": "llama",
            "hidden_size": WIDTH,
            "intermediate_size": 128,
            "max_position_embeddings": 256,
            "num_attention_heads": 4,
            "num_hidden_layers": 2,
            "num_key_value_heads": 2,
            "vocab_size": 320,
        },
        "vision_config": {
            "cls": "CLIPVisionTower",
            "params": {
                "image_size": GRID * PATCH,
                "model_name": "siglip_tiny",
                "select_feature": "same",
                "select_layer": -1,
            },
        },
    }


def _save(model: Any, config: dict[str, Any], out: Path) -> None:
    torch.save(model.state_dict(), out / "pytorch_model.bin")
    (out / "config.json").write_text(json.dumps(config))
    (out / "tokenizer_config.json").write_text(json.dumps(TOKENIZER))
    (out / "preprocessor_config.json").write_text(json.dumps({"image_size": GRID * PATCH}))


def _tokenizer(out: Path) -> Any:
    """Byte-level BPE in the form of deepseek-ai's: digits apart, BOS in front."""
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator([*PROMPTS, "a table"], trainer)
    made.post_processor = processors.TemplateProcessing(
        single=f"{SPECIAL[0]} $A", special_tokens=[(SPECIAL[0], 0)]
    )
    made.save(str(out / "tokenizer.json"))
    names = {name: TOKENIZER[name] for name in ("bos_token", "eos_token", "pad_token")}
    return PreTrainedTokenizerFast(tokenizer_object=made, **names)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
