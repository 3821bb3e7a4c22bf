"""Anole: the image generator of `text2image.py` on a tiny model in the layout of Meta's Chameleon.

    PYTHON -m benchmarks.official.anole CHECKOUT OUT

Its processes and CUDA graphs are left out, its attention of xformers is replaced by slow code of
our own (`xformers_cpu`); prompts, three branches of guidance and decoding are official. Needs
torch, transformers 4.44, tokenizers, pyyaml.
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

from benchmarks.official import chameleon_words, theirs, xformers_cpu
from benchmarks.official.lumina import VQ

PROMPTS = ["a red apple"]
MODEL = {"dim": 64, "n_layers": 2, "n_heads": 4, "qk_normalization": True}


def main(checkout: Path, out: Path) -> None:
    sys.path.insert(0, str(checkout))
    theirs.on_cpu()
    xformers_cpu.install()
    words = chameleon_words.save(out)
    from chameleon.inference import chameleon, model_adapter
    from chameleon.inference.transformer import ModelArgs, Transformer
    from chameleon.inference.vqgan import VQModel

    model_adapter.cudagraph_wrap = lambda forward: forward
    model = Transformer(ModelArgs(**MODEL, vocab_size=len(words))).float().eval()
    theirs.spread(model, {"output": 2.0, "tok_embeddings": 8.0})
    params = {"embed_dim": 8, "n_embed": chameleon_words.CODES, "ddconfig": VQ}
    tokenizer = VQModel(**params)
    theirs.spread(tokenizer, {}, seed=1)
    weights = _apart(model.state_dict())
    model.load_state_dict(dict(weights))  # it reads that layout
    torch.save(weights, out / "consolidated.pth")
    (out / "params.json").write_text(json.dumps(MODEL))
    torch.save({"state_dict": tokenizer.state_dict()}, out / "vqgan.ckpt")
    (out / "vqgan.yaml").write_text(yaml.safe_dump({"model": {"params": params}}))

    manager: Any = chameleon.TokenManager(
        str(out / "text_tokenizer.json"), str(out / "vqgan.yaml"), str(out / "vqgan.ckpt"), "cpu"
    )
    options = chameleon.Options(txt=False)
    guidance = options.img.cfg.guidance_scale_text
    sampler = {"temperature": options.img.temp, "top_p": options.img.top_p}
    options.img = chameleon.Options.Image(temp=1.0, top_p=1.0, greedy=True)
    images = []
    for prompt in PROMPTS:
        row = manager.tokens_from_ui(
            [
                {"type": "text", "value": prompt},
                {"type": "sentinel", "value": "<END-OF-TURN>"},
            ]
        )
        rows = [row]
        made = list(chameleon.Generator(model, manager.vocab, options, rows))[:1024]
        codes = torch.tensor([manager.translation.bpe2img[int(token.id)] for token in made])
        laws_TV = torch.stack([token.logits[0].softmax(-1) for token in made])
        laws_TV = laws_TV[:, chameleon_words.FIRST_IMAGE :][:, : chameleon_words.CODES]
        picture = manager.pil_from_bpe_tokens(torch.stack([token.id[0] for token in made]))
        images.append(
            theirs.Image(
                prompt=prompt,
                row=row,
                tokens_T=codes,
                laws_TV=laws_TV,
                pixels=torch.from_numpy(np.asarray(picture).copy()).float(),
            )
        )
    theirs.save(out, guidance, sampler, images)


def _apart(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """As published: products apart that the code merges when it loads them."""
    made = {}
    for name, weight in weights.items():
        parts = {"wqkv": ("wq", "wk", "wv"), "w13": ("w1", "w3")}
        merged = next((part for part in parts if f".{part}." in name), None)
        if merged is None:
            made[name] = weight
            continue
        for part, piece in zip(parts[merged], weight.chunk(len(parts[merged])), strict=True):
            made[name.replace(merged, part)] = piece.clone()
    return made


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
