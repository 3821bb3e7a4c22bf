"""Tiny checkpoints of every family, ready for Hawk, and what is found in them."""

from pathlib import Path
from typing import Any

from hawk.check.examination import Asked, examine
from hawk.check.finding import Finding, Record
from hawk.targets.convert import convert
from tests.tiny import save_tiny_janus
from tests.tiny_families import save_tiny_chameleon, save_tiny_emu3, save_tiny_llamagen

SIZES: dict[str, tuple[int, int] | None] = {"emu3": (10, 8), "lumina": (64, 32)}
TEMPLATE = "<|User|>: {{ messages[0]['content'][0]['text'] }}\n\n<|Assistant|>:"  # as Janus-Pro's
FAMILIES = ("janus", "emu3", "anole", "lumina", "llamagen")


def save_tiny(family: str, folder: Path) -> Path:
    """The folder to load."""
    out, vq = folder / "model", folder / "vq.pt"
    if family == "janus":
        save_tiny_janus(out)
        (out / "chat_template.jinja").write_text(TEMPLATE, encoding="utf-8")
    elif family == "emu3":
        save_tiny_emu3(out)
    elif family == "llamagen":
        save_tiny_llamagen(folder)
        encoder = str(folder / "text_encoder")
        convert(family, folder / "gpt.pt", out, vq=vq, size="80x80", text_encoder=encoder)
    else:
        levels = [1, 1, 1, 2] if family == "lumina" else [1, 2]
        save_tiny_chameleon(folder / "hf", vq, resolution=10, levels=levels)
        size = "32x64" if family == "lumina" else None
        convert(family, folder / "hf", out, vq=vq, size=size, text_encoder="")
    return out


def findings(family: str, model: Path, **changes: Any) -> dict[str, Finding]:
    """By the name of the check."""
    settings: dict[str, Any] = {"dtype": "float32", "size": SIZES.get(family)}
    record = Record(lambda _: None)
    examine(Asked(model=str(model), device="cpu", **settings | changes), record)
    return {finding.name: finding for finding in record.findings}


def named(found: dict[str, Finding], outcome: str) -> set[str]:
    """Of the checks with that outcome."""
    return {name for name, finding in found.items() if finding.outcome == outcome}
