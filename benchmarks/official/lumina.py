"""Lumina-mGPT: `FlexARInferenceSolver.generate` on a tiny model in its own layout.

    PYTHON -m benchmarks.official.lumina CHECKOUT OUT

A random model would not begin an image: the three tokens that begin one are forced, and so is the
end. Prompt, row ends, guidance and decoding are official; guidance 4 as in its README. Needs torch,
transformers 4.44, tokenizers, accelerate, pyyaml.
"""
# The official code is on the path of its own run alone.
# pyright: reportMissingImports=false

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from safetensors.torch import save_file

from benchmarks.official import chameleon_words, theirs

PROMPTS, SIZES = ["a red apple", "the flag of Norway, and a tree"], [(64, 96), (96, 64)]
WIDTH, CELL, GUIDANCE = 64, 16, 4.0
START, FIRST_SIZE, END_OF_TURN = 8197, 8804, 8710
VQ = {
    "double_z": False,
    "z_channels": 32,
    "resolution": 64,
    "in_channels": 3,
    "out_ch": 3,
    "ch": 32,
    "ch_mult": [1, 1, 1, 1, 2],
    "num_res_blocks": 1,
    "attn_resolutions": [],
    "dropout": 0.0,
}


def main(checkout: Path, out: Path) -> None:
    theirs.absent("sentencepiece", "fairscale", "h5py")
    sys.path[:0] = [str(checkout / "lumina_mgpt"), str(checkout)]
    theirs.on_cpu()
    words = chameleon_words.save(out)
    import inference_solver
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    model = _model(words, out)
    inference_solver.ChameleonForConditionalGeneration.from_pretrained = lambda *_, **__: model
    hub = PreTrainedTokenizerFast(
        tokenizer_file=str(out / "tokenizer.json"),
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
    )
    AutoTokenizer.from_pretrained = lambda *_, **__: hub
    solver = inference_solver.FlexARInferenceSolver("", "fp32", target_size=96)
    solver.dtype = torch.bfloat16  # of an autocast for CUDA, which is off
    recorder, images = theirs.record_multinomial(), []
    for prompt, (height, width) in zip(PROMPTS, SIZES, strict=True):
        rows, columns = height // CELL, width // CELL
        steps = 3 + rows * (columns + 1) + 1
        recorder.begin(
            [START, FIRST_SIZE + height // 32, FIRST_SIZE + width // 32], {steps: END_OF_TURN}
        )
        question = f"Generate an image of {width}x{height} according to the following prompt:\n"
        row = solver.item_processor.process_item(
            {
                "image": [],
                "conversations": [
                    {"from": "human", "value": question + prompt},
                    {"from": "gpt", "value": None},
                ],
            }
        )
        processors = solver.create_logits_processor(cfg=GUIDANCE, image_top_k=len(words))
        _, pictures = solver.generate(
            [], [[question + prompt, None]], steps + 5, 1.0, logits_processor=processors
        )
        laws = torch.stack([law[0] for law in recorder.laws[3 : steps - 1]])
        cells = laws.view(rows, columns + 1, -1)[:, :-1].flatten(0, 1)
        laws_TV = cells[:, chameleon_words.FIRST_IMAGE :][:, : chameleon_words.CODES]
        images.append(
            theirs.Image(
                prompt=prompt,
                row=[*row, *recorder.forced],
                tokens_T=laws_TV.argmax(1),
                laws_TV=laws_TV,
                pixels=torch.from_numpy(np.asarray(pictures[0]).copy()).float(),
            )
        )
    usual = theirs.defaults(solver.create_logits_processor)
    theirs.save(out, GUIDANCE, {"temperature": 1.0, "top_k": usual["image_top_k"]}, images)


def _model(words: dict[str, int], out: Path) -> Any:
    """The model as a checkpoint of its fine-tuning, without `model.vqmodel`, and Meta's files."""
    from model import ChameleonXLLMXConfig
    from model.chameleon import ChameleonForConditionalGeneration
    from model.chameleon_vae_ori.vqgan import VQModel

    vq = {"embed_dim": 8, "num_embeddings": chameleon_words.CODES, "latent_channels": 32}
    vq |= {"base_channels": 32, "channel_multiplier": VQ["ch_mult"], "num_res_blocks": 1}
    config = ChameleonXLLMXConfig(
        vocab_size=len(words),
        hidden_size=WIDTH,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=512,
        mask_image_logits=False,
        dropout=0.05,
        z_loss_weight=1e-5,
        vocabulary_map=words,
        vq_config=vq,
        torch_dtype="float32",
        architectures=["ChameleonXLLMXForConditionalGeneration"],
        attn_implementation="sdpa",
    )
    model = ChameleonForConditionalGeneration(config).float().eval()
    theirs.spread(model, {"lm_head": 2.0, "embed_tokens": 8.0})
    weights = {
        name: weight.contiguous()
        for name, weight in model.state_dict().items()
        if not name.startswith("model.vqmodel.")
    }
    save_file(weights, out / "model.safetensors", metadata={"format": "pt"})
    stored = json.loads(config.to_json_string(use_diff=False))
    (out / "config.json").write_text(json.dumps(stored | {"model_type": "chameleon"}))
    params = {"embed_dim": 8, "n_embed": chameleon_words.CODES, "ddconfig": VQ}
    tokenizer = VQModel(**params)
    theirs.spread(tokenizer, {}, seed=1)
    folder = Path("ckpts/chameleon/tokenizer")  # as the official code looks for it
    folder.mkdir(parents=True)
    torch.save({"state_dict": tokenizer.state_dict()}, folder / "vqgan.ckpt")
    (folder / "vqgan.yaml").write_text(yaml.safe_dump({"model": {"params": params}}))
    (out / "text_tokenizer.json").rename(folder / "text_tokenizer.json")
    return model


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
