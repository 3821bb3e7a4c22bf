"""Loading: what cannot be had is said before anything large is read, and what to do about it."""

import shutil
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
from huggingface_hub.errors import (
    GatedRepoError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from safetensors.torch import load_file, save_file

from hawk.decoding.bounds import parse_size
from hawk.targets import kv_memory, load_target, memory_estimate, source
from hawk.targets.janus import Janus
from hawk.targets.source import Source
from hawk.targets.weight_shapes import shapes

CPU = torch.device("cpu")


def from_hub(kind: Any) -> Exception:
    response = httpx.Response(403, request=httpx.Request("GET", "https://hub.example/x"))
    return kind("refused", response=response)


@pytest.mark.parametrize(
    ("cause", "complaint"),
    [
        (from_hub(GatedRepoError), "'a/b@c' is gated: accept its licence .* HF_TOKEN"),
        (from_hub(RevisionNotFoundError), "'a/b' has no revision 'c'"),
        (from_hub(RepositoryNotFoundError), "no model 'a/b@c': .* private model, set HF_TOKEN"),
        (LocalEntryNotFoundError("no"), "cannot be reached .HF_HUB_OFFLINE is set.: give"),
        (None, "no model 'a/b@c': give one of emoji"),
    ],
    ids=["gated", "revision", "unknown", "offline", "other"],
)
def test_what_the_hub_says_is_explained(
    cause: Exception | None, complaint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **given: object) -> None:
        assert given["revision"] == "c"
        raise OSError("a long story") from cause

    monkeypatch.setattr(source, "cached_file", refuse)
    with pytest.raises(ValueError, match=complaint):
        load_target("a/b@c", dtype=torch.float32, device=CPU)


def test_a_folder_may_have_an_at_sign(tiny_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "model@home").symlink_to(tiny_folder)
    assert isinstance(
        load_target(str(tmp_path / "model@home"), dtype=torch.float32, device=CPU), Janus
    )


def source_of(folder: Path, **settings: Any) -> Source:
    given: dict[str, Any] = {"dtype": torch.float32, "device": CPU, "size": None, "revision": None}
    return Source(location=folder, name="x", **given | settings)


def needed(folder: Path, dtype: torch.dtype) -> int:
    source = source_of(folder, dtype=dtype)
    stored = shapes(source, source.config())
    assert stored is not None
    return memory_estimate.weight_bytes(stored, dtype)


def test_weights_are_counted_from_the_heads_of_files(tiny: Janus, tiny_folder: Path) -> None:
    """In half precision all but the image tokenizer takes half."""
    every = {name: weight.numel() for name, weight in tiny.model.named_parameters()}
    vq = sum(numbers for name, numbers in every.items() if "vqmodel." in name)
    rest = sum(every.values()) - vq
    assert min(vq, rest) > 0
    assert needed(tiny_folder, torch.float32) == 4 * (vq + rest)
    assert needed(tiny_folder, torch.bfloat16) == 4 * vq + 2 * rest


def test_decoding_is_part_of_what_is_needed(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = needed(tiny_folder, torch.float32)
    config = source_of(tiny_folder).config()
    weights += kv_memory.least_image_bytes(config, None, torch.float32)
    monkeypatch.setattr(memory_estimate, "free_bytes", lambda _: weights + 1000)
    with pytest.raises(ValueError, match="to decode an image"):
        load_target(str(tiny_folder), dtype=torch.float32, device=CPU)
    monkeypatch.setattr(memory_estimate, "free_bytes", lambda _: weights + 100_000)
    assert load_target(str(tiny_folder), dtype=torch.float32, device=CPU)


def test_a_model_larger_than_free_memory_is_refused_unread(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory_estimate, "free_bytes", lambda _: 1000)
    monkeypatch.setattr(Janus, "load", lambda _: pytest.fail("it was read"))
    with pytest.raises(
        ValueError, match=r"needs 0.0 GiB .* float32.* and 0.0 GiB are free on cpu: use"
    ):
        load_target(str(tiny_folder), dtype=torch.float32, device=CPU)


def test_the_limit_of_a_container_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal:  9000 kB\nMemAvailable:   8000 kB\n")
    (tmp_path / "memory.max").write_text("4096000\n")
    (tmp_path / "memory.current").write_text("96000\n")
    monkeypatch.setattr(memory_estimate, "MEMINFO", meminfo)
    monkeypatch.setattr(memory_estimate, "CGROUP", tmp_path)
    assert memory_estimate.free_bytes(CPU) == 4_000_000
    (tmp_path / "memory.max").write_text("max\n")
    assert memory_estimate.free_bytes(CPU) == 8000 * 1024
    monkeypatch.setattr(memory_estimate, "MEMINFO", tmp_path / "none")
    assert memory_estimate.free_bytes(CPU) is None


def test_a_size_is_refused_where_there_is_one_only(tiny_folder: Path) -> None:
    with pytest.raises(ValueError, match="images of Janus have one size"):
        load_target(str(tiny_folder), dtype=torch.float32, device=CPU, size=(64, 64))


@pytest.mark.parametrize("text", ["768", "768x", "0x5", "axb", "-1x5", "7.5x8", "1x2x3"])
def test_sizes_are_width_by_height(text: str) -> None:
    assert parse_size("768x512") == (512, 768)
    assert parse_size(None) is None
    with pytest.raises(ValueError, match="must be WIDTHxHEIGHT"):
        parse_size(text)


@pytest.mark.parametrize("content", ["[1]", "3", "{}", '{"model_type"'])
def test_a_broken_config_is_named(content: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(ValueError, match=r"config.json is broken"):
        load_target(str(tmp_path), dtype=torch.float32, device=CPU)


def test_weights_that_are_missing_are_counted(tiny_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_folder, tmp_path, dirs_exist_ok=True)
    weights = load_file(tmp_path / "model.safetensors")
    del weights["model.generation_head.vision_head.weight"]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"1 weights are missing, model.generation_head"):
        load_target(str(tmp_path), dtype=torch.float32, device=CPU)
