"""How often drafting changes an image, over many images: 0 in exact arithmetic.

    python -m benchmarks.exactness --images 1000 --dtype float32
    python -m benchmarks.exactness --images 1000 --dtype bfloat16

The coupled rule commits the tokens of plain decoding given the same logits. Logits are the same up
to rounding, which depends on the shapes of a pass (rows, nodes), so that near-ties can flip. This
counts the images that differ, and first differences per million tokens up to them. With
--deterministic all passes have one shape.
"""

import json
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import track

from hawk.bench.contenders import plan
from hawk.pictures import Picture
from hawk.pipeline import Pipeline


def main(  # noqa: PLR0913  each is a choice of the user
    images: Annotated[int, typer.Option(min=1)] = 1000,
    slots: Annotated[int, typer.Option(min=1)] = 16,
    dtype: str = "float32",
    device: str = "auto",
    model: str = "emoji",
    drafter: str = "auto",
    *,
    deterministic: bool = False,
) -> None:
    """Print one JSON object."""
    speculative = Pipeline.from_pretrained(
        model,
        drafter=drafter,
        slots=slots,
        deterministic=deterministic,
        device=device,
        dtype=dtype,
    )
    target = speculative.target
    plain = Pipeline(
        target, drafter="plain", rule="coupled", slots=slots, deterministic=deterministic
    )
    requests = plan(plain, images, seed=0)
    contenders = {"plain": plain, speculative.drafter: speculative}
    report: dict[str, Any] = {
        "model": target.name,
        "dtype": dtype,
        "images": images,
        "slots": slots,
        "deterministic": deterministic,
    }
    made: dict[str, dict[int, Picture]] = {}
    for name, pipeline in contenders.items():
        stream = track(pipeline.stream(requests), name, total=images, console=Console(stderr=True))
        made[name] = {picture.place: picture for picture in stream if isinstance(picture, Picture)}
    firsts = [
        first_difference(made["plain"][place].tokens, made[speculative.drafter][place].tokens)
        for place in range(images)
    ]
    differing = [first for first in firsts if first is not None]
    compared = sum(target.grid.cells if first is None else first + 1 for first in firsts)
    report["different_images"] = len(differing)
    report["first_differences_per_million_tokens"] = round(1e6 * len(differing) / compared, 2)
    typer.echo(json.dumps(report))


def first_difference(a: list[int], b: list[int]) -> int | None:
    return next((place for place, (x, y) in enumerate(zip(a, b, strict=True)) if x != y), None)


if __name__ == "__main__":
    typer.run(main)
