"""LlamaGen: `main` of `autoregressive/sample/sample_t2i.py` on a tiny model in its own layout.

    PYTHON -m benchmarks.official.llamagen CHECKOUT OUT

Needs torch, transformers 4, accelerate, ftfy, beautifulsoup4.
"""
# The official code is on the path of its own run alone.
# pyright: reportMissingImports=false

import argparse
import inspect
import sys
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from benchmarks.official import theirs

CODES, GRID, PATCH, TEXT_WIDTH, PLACES = 64, 5, 16, 16, 120
SETTINGS = {
    "seed": 0,
    "vq_model": "VQ-tiny",
    "codebook_size": CODES,
    "codebook_embed_dim": 4,
    "precision": "none",
    "image_size": GRID * PATCH,
    "downsample_size": PATCH,
    "gpt_model": "GPT-tiny",
    "gpt_type": "t2i",
    "cls_token_num": PLACES,
    "compile": False,
    "t5_model_type": "text_encoder",
    "t5_feature_max_len": PLACES,
    "no_left_padding": False,
    "cfg_scale": 7.5,
    "top_k": 1000,
    "temperature": 1.0,
    "top_p": 1.0,
}


def main(checkout: Path, out: Path) -> None:
    theirs.absent("torchvision")
    sys.path.insert(0, str(checkout))
    from autoregressive.models import gpt
    from autoregressive.sample import sample_t2i
    from tokenizer.tokenizer_image import vq_model

    def tiny_gpt(**given: Any) -> Any:
        args = gpt.ModelArgs(
            n_layer=2, n_head=2, dim=128, vocab_size=CODES, caption_dim=TEXT_WIDTH, **given
        )
        return gpt.Transformer(args)

    def tiny_vq(**given: Any) -> Any:
        levels = [1, 1, 1, 1, 1]
        args = vq_model.ModelArgs(
            encoder_ch_mult=levels, decoder_ch_mult=levels, z_channels=32, **given
        )
        return vq_model.VQModel(args)

    sample_t2i.GPT_models["GPT-tiny"], sample_t2i.VQ_models["VQ-tiny"] = tiny_gpt, tiny_vq
    asked = argparse.Namespace(
        **SETTINGS,
        t5_path=str(out),
        vq_ckpt=str(out / "vq.pt"),
        gpt_ckpt=str(out / "gpt.pt"),
    )
    _save(asked, tiny_gpt, tiny_vq, out)
    _save_text_encoder(inspect.getsource(sample_t2i.main), out)

    texts: dict[str, Any] = {}
    embed = sample_t2i.T5Embedder.get_text_embeddings

    def embed_and_keep(self: Any, prompts: list[str]) -> Any:
        texts["prompts"] = prompts
        cleaned = [self.text_preprocessing(prompt) for prompt in prompts]
        texts["rows"] = [self.tokenizer(prompt)["input_ids"] for prompt in cleaned]
        return embed(self, prompts)

    sample_t2i.T5Embedder.get_text_embeddings = embed_and_keep
    drawn: list[torch.Tensor] = []
    sample_t2i.save_image = lambda images, *_, **__: drawn.append(images)
    torch.serialization.add_safe_globals([argparse.Namespace])  # older torch allowed all
    recorder = theirs.record_multinomial()
    generated: list[torch.Tensor] = []
    generate = sample_t2i.generate
    sample_t2i.generate = lambda *a, **k: generated.append(generate(*a, **k)) or generated[0]
    sample_t2i.main(asked)
    laws_RTV = torch.stack(recorder.laws, 1)
    images = [
        theirs.Image(
            prompt=prompt,
            row=row,
            tokens_T=generated[0][place].long(),
            laws_TV=laws_RTV[place],
            pixels=(drawn[0][place].permute(1, 2, 0).clamp(-1, 1) + 1) / 2 * 255,
        )
        for place, (prompt, row) in enumerate(zip(texts["prompts"], texts["rows"], strict=True))
    ]
    usual = theirs.options(checkout / "autoregressive" / "sample" / "sample_t2i.py")
    sampler = {
        "temperature": usual["temperature"],
        "top_k": usual["top-k"],
        "top_p": usual["top-p"],
    }
    theirs.save(out, usual["cfg-scale"], sampler, images)


def _save(asked: Any, tiny_gpt: Any, tiny_vq: Any, out: Path) -> None:
    """The two checkpoints, as its training writes them."""
    model = tiny_gpt(block_size=GRID**2, cls_token_num=PLACES, model_type="t2i")
    theirs.spread(model, {"output": 2.0, "tok_embeddings": 10.0})
    weights = model.state_dict()
    torch.save({"model": weights, "steps": 1, "args": asked}, out / "gpt.pt")
    tokenizer = tiny_vq(codebook_size=CODES, codebook_embed_dim=4)
    theirs.spread(tokenizer, {}, seed=1)
    torch.save({"model": tokenizer.state_dict(), "steps": 1, "args": asked}, out / "vq.pt")


def _save_text_encoder(text: str, out: Path) -> None:
    """A T5 whose words are those of a text, so that the prompts in it are not cut."""
    from transformers import PreTrainedTokenizerFast, T5Config, T5EncoderModel

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=["<pad>", "</s>", "<unk>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator([text.lower()], trainer)
    made.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    words = PreTrainedTokenizerFast(tokenizer_object=made, eos_token="</s>", pad_token="<pad>")
    torch.manual_seed(2)
    config = T5Config(
        vocab_size=len(words), d_model=TEXT_WIDTH, d_kv=8, d_ff=32, num_layers=1, num_heads=2
    )
    T5EncoderModel(config).save_pretrained(out / "text_encoder")
    words.save_pretrained(out / "text_encoder")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
