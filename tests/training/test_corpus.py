"""What training takes of disk and memory: passes are sampled, shards stay on the disk."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from typer.testing import CliRunner

from hawk.cli.app import app
from hawk.decoding.grid import Grid, Identity
from hawk.decoding.request import Request
from hawk.settings import SamplerSettings
from hawk.targets.janus import Janus
from hawk.training import corpus as recorded
from hawk.training.corpus import ON_DISK, Corpus, Shard, image_bytes, shards
from hawk.training.disk_tensor import DiskTensor
from hawk.training.train import Course, need, plan, train

PROMPTS = ["a red apple", "the flag of Norway"]
CPU = torch.device("cpu")


def shard(tiny: Janus, folder: Path, images: Sequence[Request], passes: int) -> Shard:
    made = Shard(
        file=folder / f"{images[0].seed}-{passes}.safetensors",
        requests=images,
        slots=2,
        passes=passes,
    )
    made.write(tiny)
    return made


@pytest.mark.parametrize("index", ["rows", "entries", "spread"])
def test_rows_of_many_files_are_read_as_of_one_tensor(index: str) -> None:
    parts = [torch.arange(size * 15).view(size, 5, 3) + 1000 * size for size in (2, 1, 4)]
    whole, rows = torch.cat(parts), DiskTensor(parts, CPU)
    rows_B, steps_B4 = torch.tensor([6, 0, 2, 3, 0]), torch.tensor([[0, 4, 2, 1]] * 5)
    asked: dict[str, Tensor | tuple[Tensor, ...]] = {
        "rows": rows_B,
        "entries": (rows_B, steps_B4[:, 1]),
        "spread": (rows_B[:, None], steps_B4),
    }
    assert torch.equal(rows[asked[index]], whole[asked[index]])
    assert rows.shape == whole.shape
    assert len(rows) == 7


def test_what_is_large_is_mapped_and_not_read(tiny: Janus, tmp_path: Path) -> None:
    """No part of it is in memory of our own: each lies in a mapping of its file."""
    requests = plan(tiny, PROMPTS, 4, SamplerSettings(guidance=2.0))
    some = [shard(tiny, tmp_path, requests[:2], 8), shard(tiny, tmp_path, requests[2:], 8)]
    corpus = Corpus.load([made.file for made in some], CPU)
    for name in ON_DISK:
        for made, part in zip(some, getattr(corpus, name)._parts, strict=True):
            assert any(first <= part.data_ptr() < last for first, last in mappings(made.file))
    whole = [load_file(made.file)["stale_PJD"] for made in some]
    every = torch.arange(len(corpus.step_P))
    assert torch.equal(corpus.stale_PJD[every], torch.cat(whole))
    assert corpus.image_P.unique().tolist() == [0, 1, 2, 3]


def mappings(file: Path) -> list[tuple[int, int]]:
    lines = Path("/proc/self/maps").read_text().splitlines()
    places = [line.split()[0].split("-") for line in lines if line.endswith(str(file))]
    return [(int(first, 16), int(last, 16)) for first, last in places]


def test_passes_are_sampled_and_the_same_each_time(tiny: Janus, tmp_path: Path) -> None:
    requests = plan(tiny, PROMPTS, 2, SamplerSettings(guidance=2.0))
    every = load_file(shard(tiny, tmp_path, requests, 1000).file)
    few = load_file(shard(tiny, tmp_path, requests, 3).file)
    again = load_file(shard(tiny, tmp_path / "again", requests, 3).file)
    assert few["image_P"].tolist() == [0] * 3 + [1] * 3
    assert len(every["image_P"]) > 9
    for place in range(6):
        same = (every["image_P"] == few["image_P"][place]) & (
            every["step_P"] == few["step_P"][place]
        )
        assert torch.equal(every["stale_PJD"][same][0], few["stale_PJD"][place])
    assert all(torch.equal(value, again[name]) for name, value in few.items())
    assert few["step_P"][:3].tolist() == sorted(few["step_P"][:3].tolist())
    assert few["step_P"][:3].tolist() != every["step_P"][:3].tolist()


def test_many_images_keep_fewer_passes_of_each(tiny: Janus, tmp_path: Path) -> None:
    request = plan(tiny, PROMPTS, 2, SamplerSettings(guidance=2.0))[0]
    passes = [shards([request] * images, tmp_path, 8)[0].passes for images in (400, 6_000, 10**6)]
    assert passes == [500, 33, 16]


def test_janus_pro_7b_takes_a_third_of_what_all_passes_would() -> None:
    identity = Identity(
        name="x", revision="x", grid=Grid(height=24, width=24), vocabulary=16384, hidden_size=4096,
        drafters={},
    )  # fmt: skip
    assert image_bytes(identity, 33) * 6_000 < 51e9
    assert image_bytes(identity, 240) * 6_000 > 142e9


def test_the_need_of_disk_is_what_shards_take(tiny: Janus, tmp_path: Path) -> None:
    requests = plan(tiny, PROMPTS, 4, SamplerSettings(guidance=2.0))
    made = shard(tiny, tmp_path, requests, 3)
    told = len(requests) * image_bytes(tiny.identity, 3)
    assert made.file.stat().st_size == pytest.approx(told, rel=0.03)  # its head is small here


def test_a_disk_without_room_is_told_before_anything_is_recorded(
    tiny: Janus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    course = Course(
        kind="hawk",
        requests=plan(tiny, PROMPTS, 3, SamplerSettings(guidance=2.0)),
        slots=2,
        steps=1,
    )
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=1000))
    monkeypatch.setattr(recorded, "record_shard", lambda *_: pytest.fail("recorded"))
    with pytest.raises(ValueError, match=r"recording takes up to 0.0 GiB in .*record fewer images"):
        train(tiny, course, run=tmp_path / "run", out=tmp_path / "out", progress=lambda *_: print)


def test_images_that_are_recorded_need_no_more_disk(tiny: Janus, tmp_path: Path) -> None:
    requests = plan(tiny, PROMPTS, 3, SamplerSettings(guidance=2.0))
    course = Course(kind="local", requests=requests, slots=1, steps=1)
    before = need(tiny, course, tmp_path)
    first = shards(requests, tmp_path / "shards", 1)[0]
    first.write(tiny)
    after = need(tiny, course, tmp_path)
    assert after.disk == pytest.approx(before.disk / 3, rel=0.01)
    assert after.memory == before.memory > 0
    with pytest.raises(ValueError, match="no drafter 'plain' to train"):
        need(tiny, replace(course, kind="plain"), tmp_path)


def test_the_command_tells_what_it_takes(tiny_folder: Path, tmp_path: Path) -> None:
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("\n".join(PROMPTS))
    done = CliRunner().invoke(
        app,
        [
            *("train", "drafter", "--prompts", str(prompts), "--model", str(tiny_folder)),
            *("--out", str(tmp_path / "made"), "--images", "2", "--steps", "1", "--kind", "local"),
        ],
    )
    assert done.exit_code == 0, done.output
    told = " ".join(done.stderr.split())
    assert "recording takes up to 0.0 GiB in" in told
    assert "GiB of memory beside the model" in told
