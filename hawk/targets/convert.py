"""Convert: published checkpoints to folders that Hawk loads."""

import os
import shutil
from pathlib import Path

from hawk.decoding.bounds import parse_size
from hawk.targets.convert_chameleon import convert_chameleon
from hawk.targets.convert_llamagen import convert_llamagen

CONVERTERS = ("anole", "lumina", "llamagen")


def convert(
    family: str,
    checkpoint: Path,
    out: Path,
    *,
    vq: Path | None,
    size: str | None,
    text_encoder: str,
) -> None:
    """Write folder `out` from a checkpoint of one of `CONVERTERS`; see their modules.

    Args:
        family: One of `CONVERTERS`.
        checkpoint: File or folder to read.
        out: Folder to write, which must not exist.
        vq: Checkpoint of the image tokenizer; None where the checkpoint itself has it.
        size: WIDTHxHEIGHT of images in pixels.
        text_encoder: Hub id or folder of LlamaGen's T5.

    ValueError where it cannot be converted; `out` is then not written.
    """
    if family not in CONVERTERS:
        raise ValueError(f"no converter for {family!r}: choose from {', '.join(CONVERTERS)}")
    if out.exists():
        raise ValueError(f"{out} is there already: give a new folder")
    pixels = parse_size(size)
    if family == "lumina" and pixels is None:
        raise ValueError(
            "Lumina-mGPT needs --size, that of the checkpoint: 512x512, 768x768 or 1024x1024"
        )
    fresh = out.with_name(f"{out.name}.{os.getpid()}.tmp")
    try:
        if family == "llamagen":
            if vq is None or pixels is None:
                raise ValueError(
                    "LlamaGen needs --vq vq_ds16_t2i.pt, and --size 256x256 or 512x512"
                )
            convert_llamagen(checkpoint, fresh, vq=vq, size=pixels, text_encoder=text_encoder)
        else:
            name = {"anole": "chameleon", "lumina": "lumina_mgpt"}[family]
            convert_chameleon(checkpoint, fresh, family=name, vqgan=vq, size=pixels)
        fresh.rename(out)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
