"""Training of the embedded model, in miniature: two steps a stage, on a dozen made-up images."""

import contextlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from hawk import Pipeline
from jobs import train_emoji
from jobs.emoji import codebook, lm, vq
from jobs.emoji.batches import Split, batches
from jobs.emoji.dataset import EmojiData, to_pixels
from jobs.emoji.text import PAD, token_id


@pytest.fixture(autouse=True)
def small_codebook_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codebook, "IMAGES", 50)
    monkeypatch.setattr(codebook, "SAMPLE", 4000)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Twelve rows: four concepts in three variants, one row in each held-out split."""
    rng = np.random.default_rng(0)
    path = tmp_path / "emoji.npz"
    split = np.array(["train"] * 10 + ["test_pair", "test_concept"])
    base = np.array([f"thing {row // 3}" for row in range(12)])
    captions = [[f"a thing {row}, {style}" for style in "abcdef"] for row in range(12)]
    np.savez(
        path,
        images=rng.integers(0, 256, (12, 64, 64, 3), np.uint8),
        split=split,
        base=base,
        captions_json=np.array([json.dumps(six) for six in captions]),
    )
    return path


def test_rows_are_drawn_by_concept(data: Path) -> None:
    train = EmojiData.load(data, "train")
    assert len(train.images) == 10
    epoch = train.epoch(np.random.default_rng(0), per_concept=2)
    drawn = [row // 3 for row in epoch]
    assert sorted(drawn) == [0, 0, 1, 1, 2, 2, 3]
    assert len(set(epoch.tolist())) == len(epoch)


def test_an_unknown_split_is_named(data: Path) -> None:
    with pytest.raises(ValueError, match="no rows of split 'holiday'"):
        EmojiData.load(data, "holiday")


def test_codes_are_the_nearest_patches_and_white_is_one_code() -> None:
    rng = np.random.default_rng(0)
    images = np.repeat(np.repeat(rng.integers(0, 256, (40, 16, 16, 3), np.uint8), 4, 1), 4, 2)
    images[:, :32] = 255
    centres = codebook.fit(images, rng)
    codes = codebook.encode(images, centres).reshape(40, 16, 16)
    assert (codes[:, :8] == 0).all()
    cell = to_pixels(images[:1])[0, :, 48:52, 20:24].flatten()
    nearest = (centres - cell).square().sum(1).argmin()
    assert codes[0, 12, 5] == nearest
    vectors = codebook.embedding(centres)
    assert vectors.shape == (1024, 16)
    assert torch.allclose(vectors.norm(dim=1), torch.ones(1024))


@pytest.mark.slow
def test_training_resumes_and_exports_a_model_that_hawk_runs(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vq, "BATCH", 2)
    for module in (lm, vq):
        monkeypatch.setattr(module, "LOG_EVERY", 1)
    run, out = tmp_path / "run", tmp_path / "model"
    out.mkdir()

    def train(run: Path, epochs: float, start_from: Path | None = None) -> None:
        train_emoji.main(
            *(data, run, out),
            vq_steps=2,
            epochs=epochs,
            decay_epochs=0.1,
            batch=2,
            start_from=start_from,
        )

    train(run, epochs=0.4)
    first = [json.loads(line) for line in (run / "lm.jsonl").read_text().splitlines()]
    train(run, epochs=0.8)
    both = [json.loads(line) for line in (run / "lm.jsonl").read_text().splitlines()]
    assert [record["step"] for record in both] == list(range(1, len(both) + 1))
    assert len(both) == 2 * len(first)
    assert {"loss", "test_pair", "test_concept"} <= set(both[-1])
    assert len((run / "vq.jsonl").read_text().splitlines()) == 2

    before = load_file(out / "model.safetensors")
    train(tmp_path / "another run", epochs=0.2, start_from=out)
    after = load_file(out / "model.safetensors")
    changed = [name for name in before if not torch.equal(before[name], after[name])]
    assert changed
    assert all(torch.allclose(before[n], after[n], atol=0.1) for n in before)  # not a fresh start

    result = Pipeline.from_pretrained(str(out), slots=1)("a thing 3, b", guidance=2.0)
    assert result.images[0].size == (64, 64)


def test_captions_are_dropped_for_guidance(data: Path) -> None:
    train = EmojiData.load(data, "train")
    tokenizer = train_emoji.text_tokenizer(train, data.parent / "tokenizer")
    codes = np.zeros((10, 256), np.uint16)
    source = batches(
        Split(data=train, codes=codes),
        tokenizer,
        np.random.default_rng(0),
        per_concept=3,
        size=32,
    )
    text = torch.cat([next(source).text.flatten() for _ in range(20)])
    pads = text.eq(token_id(tokenizer, PAD)).float().mean().item()
    assert 0.04 < pads < 0.13  # a tenth of the captions, less their BOS and BOI


def test_what_is_behind_an_image_changes_nothing(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sequences are padded there, to one length for all captions."""
    train = EmojiData.load(data, "train")
    tokenizer = train_emoji.text_tokenizer(train, tmp_path / "tokenizer")
    rng = np.random.default_rng(0)
    split = Split(data=train, codes=rng.integers(0, 1024, (10, 256)).astype(np.uint16))
    monkeypatch.setattr(lm, "fast_bfloat16", lambda _: contextlib.nullcontext())
    batch = next(batches(split, tokenizer, rng, per_concept=6, size=2))
    model = train_emoji.new_model(tokenizer, torch.rand(1024, 48)).eval()
    with torch.no_grad():
        padded = lm.code_loss(model, batch)
        monkeypatch.setattr(lm, "LENGTH_STEP", 1)
        assert padded.shape == (2, 256)
        assert torch.allclose(padded, lm.code_loss(model, batch), atol=1e-4)
