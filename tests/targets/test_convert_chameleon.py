"""Conversion of Chameleon checkpoints as they are published: what they lack is put in, or named."""

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import ChameleonForConditionalGeneration

from hawk.targets import load_target
from hawk.targets.checkpoint import read_pickle
from hawk.targets.convert import convert
from hawk.targets.convert_chameleon import convert_chameleon
from hawk.targets.vq import FILE
from tests.tiny_families import save_tiny_chameleon, save_tiny_lumina

CPU = torch.device("cpu")
SIZE = (64, 32)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders in the layout of transformers, and vqgan.ckpt beside them."""
    path = tmp_path_factory.mktemp("published")
    save_tiny_chameleon(path / "anole", path / "anole.ckpt", resolution=10)
    levels = [1, 1, 1, 2]
    save_tiny_lumina(path / "lumina", path / "lumina.ckpt", resolution=64, levels=levels)
    return path


@pytest.fixture(scope="module")
def lumina(published: Path) -> Path:
    """A converted folder."""
    out, vqgan = published / "lumina-converted", published / "lumina.ckpt"
    convert_chameleon(published / "lumina", out, family="lumina_mgpt", vqgan=vqgan, size=SIZE)
    return out


def weights_in(folder: Path) -> dict[str, torch.Tensor]:
    shards = folder.glob("model*.safetensors")
    return {name: weight for shard in shards for name, weight in load_file(shard).items()}


def test_norms_are_stored_for_each_head(published: Path, lumina: Path) -> None:
    one, each = weights_in(published / "lumina"), weights_in(lumina)
    norms = [name for name in each if name.endswith("q_norm.weight")]
    assert len(norms) == 2
    for name in norms:
        assert one[name].shape == (1, 16)
        assert torch.equal(each[name], one[name].expand(4, -1))


def test_a_checkpoint_that_has_the_decoder_itself_needs_no_vqgan(
    published: Path, tmp_path: Path
) -> None:
    out, vqgan = tmp_path / "with-vqgan", published / "anole.ckpt"
    convert_chameleon(published / "anole", out, family="chameleon", vqgan=vqgan, size=None)
    hf = tmp_path / "hf"
    hf.mkdir()
    for file in (published / "anole").iterdir():
        (hf / file.name).write_bytes(file.read_bytes())
    decoder = load_file(out / FILE)
    weights = load_file(hf / "model.safetensors")
    weights |= {f"model.vqmodel.{name}": weight for name, weight in decoder.items()}
    save_file(weights, hf / "model.safetensors", metadata={"format": "pt"})
    convert_chameleon(hf, tmp_path / "out", family="chameleon", vqgan=None, size=None)
    again = load_file(tmp_path / "out" / FILE)
    assert again.keys() == decoder.keys()
    assert all(torch.equal(again[name], decoder[name]) for name in decoder)


@pytest.mark.parametrize(("folder", "command"), [("anole", "anole"), ("lumina", "lumina")])
def test_without_a_decoder_for_pixels_it_says_where_to_get_one(
    published: Path, folder: str, command: str
) -> None:
    where = "vqgan.ckpt is in .original_tokenizers. of Alpha-VLLM/Chameleon_7B_mGPT"
    with pytest.raises(ValueError, match=rf"hawk convert {command} FOLDER OUT .*{where}"):
        load_target(str(published / folder), dtype=torch.float32, device=CPU)
    with pytest.raises(ValueError, match=rf"no decoder for pixels: {where}"):
        convert_chameleon(
            published / folder, published / "x", family="lumina_mgpt", vqgan=None, size=None
        )


def test_lumina_gets_the_image_tokenizer_that_its_checkpoint_lacks(
    published: Path, lumina: Path
) -> None:
    assert not any("vqmodel" in name for name in weights_in(published / "lumina"))
    official, prefix = read_pickle(published / "lumina.ckpt"), "model.vqmodel."
    own = {name: w for name, w in weights_in(lumina).items() if name.startswith(prefix)}
    assert len(own) > 30
    assert all(torch.equal(w, official[name.removeprefix(prefix)]) for name, w in own.items())
    _, report = ChameleonForConditionalGeneration.from_pretrained(  # pyright: ignore[reportGeneralTypeIssues]
        lumina, output_loading_info=True
    )
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]


@pytest.mark.parametrize("place", ["vqgan.ckpt", "tokenizer/vqgan.ckpt"])
def test_vqgan_is_found_where_repositories_have_it(
    published: Path, tmp_path: Path, place: str
) -> None:
    hf = tmp_path / "hf"
    shutil.copytree(published / "lumina", hf)
    (hf / place).parent.mkdir(exist_ok=True)
    shutil.copyfile(published / "lumina.ckpt", hf / place)
    convert_chameleon(hf, tmp_path / "a", family="lumina_mgpt", vqgan=None, size=SIZE)
    given = (hf / place).parent
    convert_chameleon(hf, tmp_path / "b", family="lumina_mgpt", vqgan=given, size=SIZE)
    assert (tmp_path / "a" / FILE).read_bytes() == (tmp_path / "b" / FILE).read_bytes()
    with pytest.raises(ValueError, match=r"no vqgan.ckpt in .*mGPT"):
        convert_chameleon(hf, tmp_path / "c", family="lumina_mgpt", vqgan=tmp_path, size=SIZE)


def without_encoder(folder: Path) -> None:
    official = read_pickle(folder / "vqgan.ckpt")
    del official["encoder.conv_in.weight"]
    torch.save(official, folder / "vqgan.ckpt")


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (
            lambda folder: (folder / "model-00002-of-00002.safetensors").unlink(),
            "1 of 2 weight files are missing, model-00002-of-00002.safetensors among them",
        ),
        (
            lambda folder: os.truncate(folder / "model-00002-of-00002.safetensors", 9000),
            "model-00002-of-00002.safetensors is cut short",
        ),
        (
            lambda folder: (folder / "model.safetensors.index.json").unlink(),
            "neither model.safetensors nor model.safetensors.index.json",
        ),
        (
            lambda folder: (folder / "model.safetensors.index.json").write_text("{}"),
            "model.safetensors.index.json is broken",
        ),
        (without_encoder, "1 weights of the model are missing, model.vqmodel.encoder.conv_in"),
    ],
    ids=["shard gone", "shard cut", "index gone", "index broken", "vqgan without encoder"],
)
def test_a_checkpoint_that_is_not_whole_is_refused_and_nothing_is_written(
    published: Path, tmp_path: Path, damage: Callable[[Path], object], complaint: str
) -> None:
    hf = tmp_path / "hf"
    shutil.copytree(published / "lumina", hf)
    shutil.copyfile(published / "lumina.ckpt", hf / "vqgan.ckpt")
    damage(hf)
    with pytest.raises(ValueError, match=complaint):
        convert_chameleon(hf, tmp_path / "out", family="lumina_mgpt", vqgan=None, size=SIZE)
    assert not (tmp_path / "out").exists()


def test_lumina_is_no_anole(published: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is a Lumina-mGPT checkpoint: use `hawk convert lumina`"):
        convert_chameleon(
            published / "lumina", tmp_path / "x", family="chameleon", vqgan=None, size=None
        )


def test_a_conversion_that_fails_leaves_nothing(
    published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "x")

    monkeypatch.setattr("hawk.targets.convert_chameleon.save_file", full)
    settings: Any = {"size": None, "text_encoder": ""}
    with pytest.raises(OSError, match="No space"):
        convert(
            "anole", published / "anole", tmp_path / "x", vq=published / "anole.ckpt", **settings
        )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (lambda path: path.write_bytes(b"no checkpoint"), "broken or no checkpoint"),
        (lambda path: path.write_bytes(path.read_bytes()[:2000]), "broken or no checkpoint"),
        (lambda path: torch.save({"state_dict": {}}, path), "there are no weights"),
        (lambda path: torch.save({"decoder.x": torch.zeros(1)}, path), "does not fit the model"),
    ],
    ids=["garbage", "truncated", "empty", "another model"],
)
def test_a_broken_vqgan_is_refused_and_nothing_is_written(
    published: Path, tmp_path: Path, damage: Callable[[Path], object], complaint: str
) -> None:
    vqgan = tmp_path / "vqgan.ckpt"
    vqgan.write_bytes((published / "anole.ckpt").read_bytes())
    damage(vqgan)
    out = tmp_path / "out"
    with pytest.raises(ValueError, match=complaint):
        convert_chameleon(published / "anole", out, family="chameleon", vqgan=vqgan, size=None)
    assert not out.exists()
