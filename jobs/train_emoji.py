"""Train the embedded model `emoji` from `emoji.npz`: VQ tokenizer, codes, BPE, language model.

    python -m jobs.train_emoji emoji.npz RUN_FOLDER --out hawk/assets/emoji

One command; every stage leaves its result in RUN_FOLDER, so a second call goes on where the first
one stopped. Losses are in `vq.jsonl` and `lm.jsonl`. About two hours a stage of 15 epochs on
two cores with AVX512-bf16; no GPU needed.
"""

import shutil
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from transformers import GenerationConfig, JanusForConditionalGeneration, PreTrainedTokenizerFast
from transformers.models.janus.modeling_janus import JanusVQVAE

from jobs.emoji.architecture import build
from jobs.emoji.dataset import EmojiData
from jobs.emoji.lm import Split, Trainer
from jobs.emoji.text import BOI, BOS, IMAGE, PAD, load_tokenizer, token_id, train_tokenizer
from jobs.emoji.vq import Trainer as VqTrainer
from jobs.emoji.vq import encode

PER_CONCEPT = 8  # rows of a concept in an epoch, so that skin-tone variants do not dominate


def main(
    data: Annotated[Path, typer.Argument(help="emoji.npz, as jobs.emoji.build makes it.")],
    run: Annotated[Path, typer.Argument(help="Folder for checkpoints and logs.")],
    out: Annotated[Path, typer.Option(help="Where the finished model goes.")],
    vq_steps: Annotated[int, typer.Option(min=1)] = 1000,
    epochs: Annotated[float, typer.Option(min=0.01)] = 15.0,
    decay_epochs: Annotated[float, typer.Option(min=0.0)] = 3.0,
) -> None:
    """Train and export; resumes."""
    run.mkdir(parents=True, exist_ok=True)
    train = EmojiData.load(data, "train")
    vq = VqTrainer(train, run).train(vq_steps)
    splits = {
        "train": Split(data=train, codes=codes(vq, train, run / "codes_train.npy")),
        **{
            name: Split(data=held_out, codes=codes(vq, held_out, run / f"codes_{name}.npy"))
            for name in ("test_pair", "test_concept")
            for held_out in [EmojiData.load(data, name)]
        },
    }
    tokenizer = text_tokenizer(train, run / "tokenizer")
    model = new_model(tokenizer, vq)
    trainer = Trainer(model, tokenizer, splits, run)
    trainer.train(epochs=epochs, decay_epochs=decay_epochs, per_concept=PER_CONCEPT)
    export(model, tokenizer, out)


@torch.inference_mode()
def codes(vq: JanusVQVAE, data: EmojiData, path: Path) -> np.ndarray:
    """Codes of every image, uint16 [rows, 256]; kept in `path`."""
    if not path.exists():
        table = []
        for first in range(0, len(data.images), 64):
            rows = np.arange(first, min(first + 64, len(data.images)))
            with torch.autocast(vq.device.type, torch.bfloat16):
                table.append(encode(vq, data.pixels(rows))[1].numpy().astype(np.uint16))
        np.save(path.with_suffix(".tmp.npy"), np.concatenate(table))
        path.with_suffix(".tmp.npy").replace(path)
    return np.load(path)


def text_tokenizer(data: EmojiData, folder: Path) -> PreTrainedTokenizerFast:
    if not folder.exists():
        captions = (caption for six in data.captions for caption in six)
        train_tokenizer(captions).save_pretrained(folder)
    return load_tokenizer(folder)


def new_model(tokenizer: PreTrainedTokenizerFast, vq: JanusVQVAE) -> JanusForConditionalGeneration:
    """A fresh Janus around the trained VQ model, its codebook as the start of the embeddings."""
    torch.manual_seed(0)
    bos, pad = token_id(tokenizer, BOS), token_id(tokenizer, PAD)
    model = build(len(tokenizer), bos, pad, token_id(tokenizer, IMAGE))
    model.model.vqmodel.load_state_dict(vq.state_dict())
    model.model.generation_embeddings.weight.data.copy_(vq.quantize.embedding.weight)
    model.generation_config = GenerationConfig(
        bos_token_id=bos,
        pad_token_id=pad,
        generation_kwargs={"boi_token_id": token_id(tokenizer, BOI)},
    )
    return model


def export(
    model: JanusForConditionalGeneration, tokenizer: PreTrainedTokenizerFast, out: Path
) -> None:
    """Write model and tokenizer in bfloat16 beside what `out` already holds."""
    fresh = out / "export.tmp"
    model.bfloat16().save_pretrained(fresh)
    tokenizer.save_pretrained(fresh)
    for file in fresh.iterdir():
        file.replace(out / file.name)
    shutil.rmtree(fresh)


if __name__ == "__main__":
    typer.run(main)
