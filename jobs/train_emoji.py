"""Train the embedded model `emoji` from `emoji.npz`: VQ tokenizer, codes, BPE, language model.

    python -m jobs.train_emoji emoji.npz RUN_FOLDER --out hawk/assets/emoji

One command; every stage leaves its result in RUN_FOLDER, so a second call goes on where the first
one stopped. Losses are in `vq.jsonl` and `lm.jsonl`. An epoch takes about 14 minutes on two cores
with AVX512-bf16, 8 with `--compile` on two with AMX, 45 on two with AVX2; a GPU is used where there
is one.
"""

import shutil
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import GenerationConfig, JanusForConditionalGeneration, PreTrainedTokenizerFast

from hawk.devices import resolve_device
from jobs.emoji import codebook
from jobs.emoji.architecture import build
from jobs.emoji.batches import Split
from jobs.emoji.dataset import EmojiData
from jobs.emoji.lm import Trainer as LmTrainer
from jobs.emoji.text import BOI, BOS, IMAGE, PAD, load_tokenizer, token_id, train_tokenizer
from jobs.emoji.vq import Trainer as VqTrainer

CODEBOOK_FILE = "codebook.safetensors"  # also what turns images into codes
# The best of several by `hawk evaluate`: concepts and styles; clean edges.
GUIDANCE, TOP_P = 3.0, 0.85
PER_CONCEPT = 6  # rows of a concept in an epoch, so that skin-tone variants do not dominate

CompileOption = Annotated[
    bool, typer.Option("--compile", help="Compile the layers; on a CPU that needs g++.")
]


def main(
    data: Annotated[Path, typer.Argument(help="emoji.npz, as jobs.emoji.build makes it.")],
    run: Annotated[Path, typer.Argument(help="Folder for checkpoints and logs.")],
    out: Annotated[Path, typer.Option(help="Where the finished model goes.")],
    vq_steps: Annotated[int, typer.Option(min=0)] = 1500,
    epochs: Annotated[float, typer.Option(min=0.01)] = 15.0,
    decay_epochs: Annotated[float, typer.Option(min=0.0)] = 5.0,
    batch: Annotated[int, typer.Option(min=1, help="Images of a step; 128 suits a GPU.")] = 32,
    start_from: Annotated[
        Path | None, typer.Option(help="A finished model to train on, instead of a fresh one.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...")] = "auto",
    compiled: CompileOption = False,
) -> None:
    """Train and export; resumes."""
    run.mkdir(parents=True, exist_ok=True)
    train = EmojiData.load(data, "train")
    if start_from is None:
        centres = codebook_of(train, run / CODEBOOK_FILE)
        tokenizer = text_tokenizer(train, run / "tokenizer")
        model = new_model(tokenizer, centres)
    else:
        centres = load_file(start_from / CODEBOOK_FILE)["centres"]
        tokenizer = load_tokenizer(start_from)
        model = JanusForConditionalGeneration.from_pretrained(start_from, dtype=torch.float32)
    model.to(resolve_device(device))  # pyright: ignore[reportArgumentType]
    splits = {
        name: Split(data=part, codes=codebook.encode(part.images, centres))
        for name in ("train", "test_pair", "test_concept")
        for part in [EmojiData.load(data, name)]
    }
    VqTrainer(model.model.vqmodel, splits["train"], run).train(vq_steps)
    LmTrainer(model, tokenizer, splits, run, batch=batch, compiled=compiled).train(
        epochs=epochs, decay_epochs=decay_epochs, per_concept=PER_CONCEPT
    )
    export(model, tokenizer, out)
    save_file({"centres": centres}, out / CODEBOOK_FILE)


def codebook_of(data: EmojiData, path: Path) -> Tensor:
    if not path.exists():
        save_file({"centres": codebook.fit(data.images, np.random.default_rng(0))}, path)
    return load_file(path)["centres"]


def text_tokenizer(data: EmojiData, folder: Path) -> PreTrainedTokenizerFast:
    if not folder.exists():
        captions = (caption for six in data.captions for caption in six)
        train_tokenizer(captions).save_pretrained(folder)
    return load_tokenizer(folder)


def new_model(tokenizer: PreTrainedTokenizerFast, centres: Tensor) -> JanusForConditionalGeneration:
    """A fresh Janus; image embeddings start from the geometry of the codebook."""
    torch.manual_seed(0)
    bos, pad = token_id(tokenizer, BOS), token_id(tokenizer, PAD)
    model = build(len(tokenizer), bos, pad, token_id(tokenizer, IMAGE))
    vectors = codebook.embedding(centres)
    model.model.vqmodel.quantize.embedding.weight.data.copy_(vectors)
    model.model.generation_embeddings.weight.data.copy_(vectors)
    model.generation_config = GenerationConfig(
        bos_token_id=bos,
        pad_token_id=pad,
        generation_kwargs={"boi_token_id": token_id(tokenizer, BOI)},
        do_sample=True,
        guidance_scale=GUIDANCE,
        temperature=1.0,
        top_p=TOP_P,
    )
    return model


def export(
    model: JanusForConditionalGeneration, tokenizer: PreTrainedTokenizerFast, out: Path
) -> None:
    """Write model and tokenizer in bfloat16 beside what `out` already holds."""
    fresh = out / "export.tmp"
    model.cpu().bfloat16().save_pretrained(fresh)
    tokenizer.save_pretrained(fresh)
    for file in fresh.iterdir():
        file.replace(out / file.name)
    shutil.rmtree(fresh)


if __name__ == "__main__":
    typer.run(main)
