"""Models that cannot be had: one sentence each that says what to do, and nothing large is read.

Folders, and repositories of a hub on loopback, asked by the real client.
"""

import errno
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from huggingface_hub import constants, file_download

from hawk.targets import load_target, memory_estimate
from hawk.targets.janus import Janus
from tests.targets.fake_hub import FakeHub

CPU = torch.device("cpu")
HEAD_BYTES = 100_001  # of a file, for its shapes


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """Instead of the real one, which no test may ask."""
    served = FakeHub()
    template = served.url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "ENDPOINT", served.url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("transformers.utils.hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    yield served
    served.close()


@pytest.fixture
def model(tiny_folder: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    shutil.copytree(tiny_folder, tmp_path / "model")
    return tmp_path / "model"


def complaint(model: object, **settings: Any) -> str:
    """The one sentence with which a model is refused."""
    with pytest.raises(ValueError, match=r"\w") as caught:
        load_target(str(model), **{"dtype": torch.float32, "device": CPU} | settings)
    told = str(caught.value)
    assert "\n" not in told
    assert len(told) < 500
    return told


def config(folder: Path, **entries: Any) -> None:
    (folder / "config.json").write_text(json.dumps(entries))


def only(folder: Path, **files: str) -> None:
    """Nothing but some files, `_` for their dots."""
    for file in folder.iterdir():
        shutil.rmtree(file) if file.is_dir() else file.unlink()
    for name, content in files.items():
        (folder / name.replace("__", "/").replace("_DOT_", ".")).parent.mkdir(exist_ok=True)
        (folder / name.replace("__", "/").replace("_DOT_", ".")).write_text(content)


def indexed(folder: Path, *names: str) -> None:
    """Instead of one weight file, an index of some."""
    (folder / "model.safetensors").rename(folder / names[0])
    places = {f"weight.{number}": name for number, name in enumerate(names)}
    index = {"metadata": {}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def without_tokenizer(folder: Path) -> None:
    for file in ("tokenizer.json", "tokenizer_config.json"):
        (folder / file).unlink()


CASES: dict[str, tuple[Callable[[Path], object], str]] = {
    "adapter": (
        lambda f: only(
            f,
            adapter_config_DOT_json=json.dumps({"base_model_name_or_path": "a/base"}),
            adapter_model_DOT_safetensors="x",
        ),
        "is an adapter (LoRA) for a/base: merge it",
    ),
    "adapter beside a configuration": (
        lambda f: (f / "model.safetensors").rename(f / "adapter_model.safetensors"),
        "holds an adapter (LoRA) only: merge it",
    ),
    "diffusers": (lambda f: only(f, model_index_DOT_json="{}"), "a pipeline of diffusers"),
    "GGUF": (lambda f: only(f, model_DOT_gguf="x"), "it is in GGUF"),
    "GGUF beside a configuration": (
        lambda f: (f / "model.safetensors").rename(f / "model.Q4.gguf"),
        "it is in GGUF",
    ),
    "LlamaGen's files": (
        lambda f: only(f, t2i_XL_stage2_512_DOT_pt="x", vq_ds16_t2i_DOT_pt="x"),
        "run `hawk convert llamagen",
    ),
    "Anole's own layout": (
        lambda f: only(f, models__7b_DOT_pth="x", tokenizer__vqgan_DOT_ckpt="x"),
        "get leloy/Anole-7b-v0.1-hf and run `hawk convert anole`",
    ),
    "something else": (lambda f: only(f, README_DOT_md="x"), "there is no config.json in it"),
    "Janus' own layout, 1B": (
        lambda f: config(
            f,
            model_type="multi_modality",
            gen_vision_config={},
            language_config={"hidden_size": 2048},
        ),
        "give deepseek-community/Janus-Pro-1B, the same weights",
    ),
    "Janus' own layout, 7B": (
        lambda f: config(
            f,
            model_type="multi_modality",
            gen_vision_config={},
            language_config={"hidden_size": 4096},
        ),
        "give deepseek-community/Janus-Pro-7B, the same weights",
    ),
    "JanusFlow": (lambda f: config(f, model_type="multi_modality"), "by rectified flow"),
    "Emu3's own layout": (lambda f: config(f, model_type="Emu3"), "give BAAI/Emu3-Gen-hf"),
    "another family": (
        lambda f: config(f, model_type="llama"),
        "it is a 'llama' model, and Hawk runs janus, emu3, chameleon, lumina_mgpt, llamagen",
    ),
    "pickles only": (
        lambda f: (f / "model.safetensors").rename(f / "pytorch_model.bin"),
        "its weights are pickles (pytorch_model.bin)",
    ),
    "no weights": (
        lambda f: (f / "model.safetensors").unlink(),
        "no model.safetensors and no model.safetensors.index.json: get its files again",
    ),
    "no tokenizer": (without_tokenizer, "no tokenizer in it: copy tokenizer.json"),
    "a file of the index missing": (
        lambda f: indexed(f, "model-1.safetensors", "model-2.safetensors"),
        "1 of 2 weight files are missing, model-2.safetensors among them",
    ),
    "an empty index": (
        lambda f: (
            indexed(f, "model-1.safetensors"),
            (f / "model.safetensors.index.json").write_text("[]"),
        ),
        "model.safetensors.index.json is broken",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_no_model_of_ours_is_told_by_its_files(case: str, model: Path) -> None:
    damage, told = CASES[case]
    damage(model)
    assert told in complaint(model)


@pytest.mark.parametrize("case", CASES)
def test_on_a_hub_it_is_told_before_weights_are_downloaded(
    case: str, model: Path, hub: FakeHub
) -> None:
    damage, told = CASES[case]
    damage(model)
    hub.repositories["a/model"] = model
    assert told in complaint("a/model")
    endings = (".safetensors", ".bin", ".gguf", ".pt", ".pth", ".ckpt")
    weights = [name for name in hub.fetched if name.endswith(endings) and "/" not in name]
    assert weights in ([], ["model.safetensors"])
    assert hub.fetched.get("model.safetensors", 0) <= HEAD_BYTES


def test_a_model_of_a_hub_is_loaded(model: Path, hub: FakeHub) -> None:
    hub.repositories["a/model"] = model
    assert isinstance(load_target("a/model", dtype=torch.float32, device=CPU), Janus)
    hub.close()  # and once it is there, without the hub
    assert isinstance(load_target("a/model", dtype=torch.float32, device=CPU), Janus)


def test_what_a_hub_refuses_is_told(model: Path, hub: FakeHub) -> None:
    hub.repositories |= {"a/gated": None, "a/model": model}
    assert "'a/gated' is gated: accept its licence" in complaint("a/gated")
    assert "no model 'a/none': give one of emoji" in complaint("a/none")
    assert "'a/model' has no revision 'old': give a commit" in complaint("a/model@old")
    assert "no model 'not an id!'" in complaint("not an id!")


def test_a_hub_that_does_not_answer_is_told(
    model: Path, hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.status, hub.message = 401, "Invalid credentials in Authorization header"
    assert "the hub does not know HF_TOKEN" in complaint("a/model")
    hub.status = 418
    assert "the hub answers 418 for 'a/model': try again later" in complaint("a/model")
    hub.close()
    assert "the hub cannot be reached: give" in complaint("a/model")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "cannot be reached (HF_HUB_OFFLINE is set)" in complaint("a/model")


def test_a_download_that_breaks_off_goes_on_later(model: Path, hub: FakeHub) -> None:
    hub.repositories["a/model"] = model
    hub.lost = "model.safetensors"
    assert "cannot load 'a/model': the hub cannot be reached for all" in complaint("a/model")
    hub.lost = ""
    assert isinstance(load_target("a/model", dtype=torch.float32, device=CPU), Janus)


def test_a_cache_without_room_is_told_before_the_download(
    model: Path, hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.repositories["a/model"] = model
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=500_000))
    told = complaint("a/model")
    assert "its weights take 0.0 GiB on disk, and 0.0 GiB are free for the cache" in told
    assert "model.safetensors" not in hub.fetched


@pytest.mark.parametrize("full", ["config.json", "model.safetensors"])
def test_a_disk_that_fills_up_is_told(
    full: str, model: Path, hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    really = file_download.http_get

    def get(url: str, *rest: Any, **settings: Any) -> None:
        if url.endswith(full):
            raise OSError(errno.ENOSPC, "No space left on device")
        really(url, *rest, **settings)

    hub.repositories["a/model"] = model
    monkeypatch.setattr(file_download, "http_get", get)
    assert "no space is left for the cache" in complaint("a/model")


def test_memory_is_checked_before_the_download(
    model: Path, hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.repositories["a/model"] = model
    monkeypatch.setattr(memory_estimate, "free_bytes", lambda _: 1000)
    assert "are free on cpu: use" in complaint("a/model")
    assert hub.fetched["model.safetensors"] == HEAD_BYTES
    assert (model / "model.safetensors").stat().st_size > 10 * HEAD_BYTES


def test_a_file_is_no_folder(model: Path) -> None:
    assert "is a file: give the folder of a model" in complaint(model / "model.safetensors")


@pytest.mark.parametrize("left", [0, 4, 3000, 100_000])
def test_a_weight_file_that_was_cut_is_told_unread(
    left: int, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.truncate(model / "model.safetensors", left)
    monkeypatch.setattr(Janus, "load", lambda _: pytest.fail("it was read"))
    assert "model.safetensors is cut short or no safetensors file" in complaint(model)


def test_a_broken_tokenizer_is_told_before_weights_are_read(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (model / "tokenizer.json").write_text("{broken")
    monkeypatch.setattr("hawk.targets.source.Source.model", lambda *_: pytest.fail("weights"))
    assert "its tokenizer is broken" in complaint(model)
