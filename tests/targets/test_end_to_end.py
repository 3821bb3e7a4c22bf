"""Every family from published files to PNG, with the commands of docs/models.md."""

import json
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from hawk.cli.app import app
from tests.needs import NEEDS_CUDA
from tests.tiny_families import (
    save_tiny_chameleon,
    save_tiny_emu3,
    save_tiny_llamagen,
    save_tiny_lumina,
)


def hawk(*arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == code, result.output
    return result.output


def published(family: str, folder: Path) -> list[str]:
    """Save tiny files as they are published; the arguments of `hawk convert`, if it is needed."""
    vq, out = folder / "vq.pt", str(folder / "converted")
    if family == "emu3":
        save_tiny_emu3(folder / "converted")
        return []
    if family == "llamagen":
        save_tiny_llamagen(folder)
        settings = ["--size", "80x80", "--text-encoder", str(folder / "text_encoder")]
        return [family, str(folder / "gpt.pt"), out, "--vq", str(vq), *settings]
    if family == "lumina":
        save_tiny_lumina(folder / "hf", vq, resolution=10, levels=[1, 1, 1, 2])
        return [family, str(folder / "hf"), out, "--vq", str(vq), "--size", "32x64"]
    save_tiny_chameleon(folder / "hf", vq, resolution=10)
    return [family, str(folder / "hf"), out, "--vq", str(vq)]


@pytest.mark.parametrize(
    "device",
    [
        "cpu,cpu",
        *(pytest.param(device, marks=NEEDS_CUDA) for device in ("cuda", "cuda,cpu")),
    ],
)
@pytest.mark.parametrize(
    ("family", "size", "pixels", "cells"),
    [
        ("emu3", ["--size", "10x8", "--negative-prompt", "blurry"], (10, 8), 20),
        ("anole", [], (10, 10), 25),
        ("lumina", [], (32, 64), 32),
        ("lumina", ["--size", "64x32"], (64, 32), 32),
        ("llamagen", [], (80, 80), 25),
    ],
)
def test_from_published_files_to_png(
    family: str,
    size: list[str],
    pixels: tuple[int, int],
    cells: int,
    device: str,
    tmp_path: Path,
) -> None:
    conversion = published(family, tmp_path)
    if conversion:
        assert "is ready" in hawk("convert", *conversion)
    asked = [
        *("generate", "a red apple", "-n", "2", "--compare", "--json", "--guidance", "2"),
        *("--model", str(tmp_path / "converted"), "--out", str(tmp_path / "images")),
        *("--slots", "2", "--dtype", "float32", *size),
    ]
    report = json.loads(hawk(*asked, "--device", device).splitlines()[-1])
    assert report["tokens"] == 2 * cells
    assert report["plain"]["identical_images"] == 2
    for image in report["images"]:
        with Image.open(image["path"]) as picture:
            assert picture.size == pixels
    if device == "cpu,cpu":
        whole = json.loads(hawk(*asked, "--device", "cpu").splitlines()[-1])
        tokens = [image["tokens_sha256"] for image in report["images"]]
        assert tokens == [image["tokens_sha256"] for image in whole["images"]]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["bert", "x", "y"], "no converter for 'bert': choose from anole, lumina, llamagen"),
        (["anole", "x", "."], "is there already: give a new folder"),
        (["llamagen", "x.pt", "y"], "LlamaGen needs --vq vq_ds16_t2i.pt, and --size"),
        (["lumina", "x", "y", "--size", "big"], "size must be WIDTHxHEIGHT"),
        (["lumina", "x", "y"], "Lumina-mGPT needs --size, that of the checkpoint: 512x512"),
    ],
)
def test_a_wrong_conversion_gets_one_sentence(arguments: list[str], complaint: str) -> None:
    assert complaint in hawk("convert", *arguments, code=2)


def test_sizes_are_whole_cells(tmp_path: Path) -> None:
    save_tiny_emu3(tmp_path / "emu3")
    out = hawk(
        *("generate", "a", "--model", str(tmp_path / "emu3"), "--size", "9x8"),
        *("--out", str(tmp_path / "images"), "--device", "cpu"),
        code=2,
    )
    assert "sizes of Emu3 are multiples of 2 pixels, got 9 x 8" in " ".join(out.split())
