"""Convert: published checkpoints to folders that Hawk loads."""

from pathlib import Path

from hawk.size import parse_size
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
        vq: checkpoint of the image tokenizer; None where the checkpoint itself has it.
        size: WIDTHxHEIGHT to draw in.
        text_encoder: hub id or folder of LlamaGen's T5.
    """
    if family not in CONVERTERS:
        raise ValueError(f"no converter for {family!r}: choose from {', '.join(CONVERTERS)}")
    if out.exists():
        raise ValueError(f"{out} is there already: give a new folder")
    pixels = parse_size(size)
    if family != "llamagen":
        name = {"anole": "chameleon", "lumina": "lumina_mgpt"}[family]
        convert_chameleon(checkpoint, out, family=name, vqgan=vq, size=pixels)
        return
    if vq is None or pixels is None:
        raise ValueError("LlamaGen needs --vq vq_ds16_t2i.pt, and --size 256x256 or 512x512")
    convert_llamagen(checkpoint, out, vq=vq, size=pixels, text_encoder=text_encoder)
