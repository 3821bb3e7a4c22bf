"""What the embedded model has learned: pictures, losses, and how close it is to its examples.

    python -m jobs.emoji.report emoji.npz RUN_FOLDER --out docs

Writes `emoji-test-pairs.png` (held-out pairs of concept and style: real image left, made image
right), `emoji-losses.png`, and prints one JSON object with the nearest-training-image check: the
root mean square pixel difference (0-255, at 32 x 32) between images and their nearest training
image, for images made from held-out captions and for the real images of the same captions. A model
that only repeats its examples is far closer to them than the real images are.
"""

import json
from pathlib import Path
from typing import Annotated

import matplotlib.pyplot as plt
import numpy as np
import torch
import typer
from PIL import Image

from hawk import Pipeline
from hawk.images.gallery import contact_sheet
from jobs.emoji.dataset import EmojiData, to_pixels

STYLE_CAPTION = 1  # "<phrase>, <style> style"
SHEET_COLUMNS = 8  # even, so that pairs stay together
COPY_DIFFERENCE = 8.0  # closer than this to a training image counts as a copy of it


def main(
    data: Annotated[Path, typer.Argument(help="emoji.npz, as jobs.emoji.build makes it.")],
    run: Annotated[Path, typer.Argument(help="Folder of the training run, for its log.")],
    out: Annotated[Path, typer.Option(help="Folder for the pictures.")],
    images: Annotated[int, typer.Option(min=1, help="Held-out pairs to make.")] = 128,
    shown: Annotated[int, typer.Option(min=1, help="How many of them are in the sheet.")] = 32,
) -> None:
    """Make, compare, draw."""
    out.mkdir(parents=True, exist_ok=True)
    train, pairs = EmojiData.load(data, "train"), EmojiData.load(data, "test_pair")
    rows = np.linspace(0, len(pairs.images) - 1, images).astype(int)
    prompts = [pairs.captions[row][STYLE_CAPTION] for row in rows]
    made = Pipeline.from_pretrained("emoji")(prompts, seed=0).images
    real = [Image.fromarray(pairs.images[row]) for row in rows]
    side_by_side = [image for both in zip(real, made, strict=True) for image in both]
    sheet = contact_sheet(side_by_side[: 2 * shown], columns=SHEET_COLUMNS)
    sheet.save(out / "emoji-test-pairs.png")
    draw_losses(run / "lm.jsonl", out / "emoji-losses.png")
    examples = small(train.images)
    differences = {
        "made": nearest(small(np.stack([np.asarray(image) for image in made])), examples),
        "real": nearest(small(pairs.images[rows]), examples),
    }
    report = {
        name: {
            "median_difference": round(float(np.median(found)), 2),
            "copies": round(float((found < COPY_DIFFERENCE).mean()), 3),
        }
        for name, found in differences.items()
    }
    typer.echo(json.dumps({"images": images, "nearest_training_image": report}))


def small(images: np.ndarray) -> torch.Tensor:
    """[n, 3 * 32 * 32] in 0-255."""
    return torch.nn.functional.avg_pool2d((to_pixels(images) + 1) * 127.5, 2).flatten(1)


def nearest(images: torch.Tensor, examples: torch.Tensor) -> np.ndarray:
    """Root mean square difference of each image to its nearest example."""
    return (torch.cdist(images, examples).amin(1) / images.shape[1] ** 0.5).numpy()


def draw_losses(log: Path, path: Path) -> None:
    records = [json.loads(line) for line in log.read_text().splitlines()]
    figure, axes = plt.subplots(figsize=(7, 4))
    for name, label in (
        ("loss", "training"),
        ("test_pair", "held-out pairs of concept and style"),
        ("test_concept", "held-out concepts"),
    ):
        points = [(record["epoch"], record[name]) for record in records if name in record]
        axes.plot(*zip(*points, strict=True), label=label)
    axes.set(xlabel="concept-balanced epochs", ylabel="cross entropy, nats a token")
    axes.legend()
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=100, bbox_inches="tight")


if __name__ == "__main__":
    typer.run(main)
