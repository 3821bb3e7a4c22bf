"""The report on the embedded model: distances to training images, and the picture of its losses."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

from jobs.emoji.report import draw_losses, nearest, small


def test_a_copy_is_found_and_a_stranger_is_far() -> None:
    rng = np.random.default_rng(0)
    examples = rng.integers(0, 256, (20, 64, 64, 3), np.uint8)
    stranger = np.full((64, 64, 3), 255, np.uint8)
    found = nearest(small(np.stack([examples[7], stranger])), small(examples))
    assert found[0] < 0.01
    assert found[1] > 50


def test_losses_are_drawn(tmp_path: Path) -> None:
    records = [{"epoch": step / 10, "loss": 3 - step / 10} for step in range(10)]
    records[-1] |= {"test_pair": 2.5, "test_concept": 2.6}
    log = tmp_path / "lm.jsonl"
    log.write_text("\n".join(map(json.dumps, records)))
    draw_losses(log, tmp_path / "losses.png")
    with Image.open(tmp_path / "losses.png") as picture:
        assert picture.width > 300
