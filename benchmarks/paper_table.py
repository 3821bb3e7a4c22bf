"""The table of the Hawk paper in kind, and methods that came after it: speed, drafts, quality.

    python -m jobs.emoji.build emoji.npz
    hawk train drafter --prompts PROMPTS --kind spatial --out drafters/spatial  # and local, hawk
    python -m benchmarks.paper_table --prompts 200 --drafters-dir drafters --real emoji.npz

All methods make the same held-out prompts in turn, one image at a time unless --batch says
otherwise, and the images that were timed are those that are judged. Writes a Markdown table, with
machine, versions and settings, beside this file.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.progress import Progress

from hawk.bench import contenders
from hawk.bench.measure import BenchRow, ContenderRuns, measure, rows
from hawk.decoding.target import Target
from hawk.drafters import weights
from hawk.evaluation.encoder import Encoder
from hawk.evaluation.judge import Judge, Quality
from hawk.evaluation.real_images import RealImages
from hawk.machine import machine, versions
from hawk.pipeline import Pipeline

OUT = Path(__file__).with_suffix(".md")
# LANTERN++ takes 1,000 neighbours of 8,192 and more codes.
LANTERN = "neighbour:ratio=2:neighbours=100"


@dataclass(frozen=True, kw_only=True)
class Method:
    """A row of the table.

    Attributes:
        label: as it is called where it comes from.
        drafter, rule: what it is here.
        weights: kind of trained drafter that it needs; None for none.
    """

    label: str
    drafter: str
    rule: str
    weights: str | None = None


METHODS = (
    Method(label="plain decoding", drafter="plain", rule="coupled"),
    Method(label="Medusa", drafter="horizontal", rule="typical", weights="spatial"),
    Method(label="horizontal heads only", drafter="horizontal", rule="residual", weights="spatial"),
    Method(label="vertical heads only", drafter="vertical", rule="residual", weights="spatial"),
    Method(label="LANTERN++", drafter="local", rule=LANTERN, weights="local"),
    Method(label="Hawk, as in the paper", drafter="union", rule="residual", weights="spatial"),
    Method(label="SJD", drafter="sjd", rule="residual"),
    Method(label="SCD", drafter="scd", rule="residual"),
    Method(label="ours, no training", drafter="jacobi", rule="coupled"),
    Method(label="ours, trained", drafter="hawk", rule="coupled", weights="hawk"),
)
HEADS = (
    *("method", "drafter", "rule", "law", "speed-up", "tokens / forward", "s / image"),
    *("Frechet", "concept @1", "concept @5", "group", "style"),
)


def main(
    real: Annotated[Path, typer.Option(help="Real images of `python -m jobs.emoji.build`.")],
    drafters_dir: Annotated[
        Path, typer.Option(help="Holds a folder a kind: spatial, local, hawk.")
    ],
    prompts: Annotated[int, typer.Option(min=2, help="Held-out prompts, an image each.")] = 200,
    batch: Annotated[int, typer.Option(min=1, help="Images in flight.")] = 1,
    out: Annotated[Path, typer.Option(help="The file to write.")] = OUT,
    model: str = "emoji",
    device: str = "auto",
    dtype: str = "auto",
    guidance: float | None = None,
) -> None:
    """Measure and write the table; a method whose drafter was not trained is left out, and said."""
    plain = Pipeline.from_pretrained(
        model, drafter="plain", slots=batch, device=device, dtype=dtype
    )
    target = plain.target
    found = trained(drafters_dir, target)
    methods = [m for m in METHODS if m.weights is None or m.weights in found]
    missing = [m.label for m in METHODS if m not in methods]
    images = RealImages.load(real)
    asked = images.held_out(prompts)
    judge = Judge(Encoder(), images, asked)
    requests = [
        replace(request, seed=place)  # no two images share their noise
        for place, request in enumerate(
            plain.requests(asked.prompts, seed=0, n=1, guidance=guidance, sampler=None)
        )
    ]
    with Progress(console=Console(stderr=True)) as bar:
        task = bar.add_task("images", total=len(methods) * -(-len(asked) // batch) * batch)
        turns = measure(
            target,
            [contenders.Method(drafter=method.drafter, rule=method.rule) for method in methods],
            requests,
            batch=batch,
            transformers=False,
            each=lambda made: bar.advance(task, made),
        )
    table = [
        line(method, row, quality_of(turn, judge, len(asked)))
        for method, row, turn in zip(methods, rows(turns), turns, strict=True)
    ]
    settings = {
        "model": target.name,
        "revision": target.identity.revision,
        "images": len(asked),
        "in flight": batch,
        "guidance": requests[0].guidance,
        **asdict(requests[0].sampler),
        **machine(target.device),
        **versions(),
    }
    text = markdown([*table, real_line(judge.ceiling)], settings, missing)
    out.write_text(text, encoding="utf-8")
    typer.echo(text)


def trained(folder: Path, target: Target) -> Mapping[str, Path]:
    """Folders by kind; the target is told of them. ValueError where one is of another target."""
    found = {file.parent.name: file.parent for file in sorted(folder.glob("*/" + weights.CONFIG))}
    target.identity = replace(target.identity, drafters=found)
    for kind in found:
        if not weights.fits(kind, target.identity):
            raise ValueError(f"the drafter in {found[kind]} was trained for another model: again")
    return found


def quality_of(turn: ContenderRuns, judge: Judge, count: int) -> Quality:
    """Of the first images: the last batch may have been filled up."""
    pictures = turn.pictures[:count]
    return judge.quality([np.asarray(picture.image) for picture in pictures], range(count))


def line(method: Method, row: BenchRow, quality: Quality) -> list[str]:
    assert row.drafting is not None
    identical = row.drafting.identical_to_plain == row.images
    law = "same tokens" if identical else ("exact" if row.drafting.exact else "changed")
    return [
        method.label,
        f"`{method.drafter}`",
        f"`{method.rule}`",
        law,
        f"{row.speedup_over_plain:.2f}x",
        f"{row.tokens_per_forward:.2f}",
        f"{row.seconds_per_image:.2f}",
        *cells(quality),
    ]


def real_line(ceiling: Quality) -> list[str]:
    return ["real images", *[""] * 6, *cells(ceiling)]


def cells(quality: Quality) -> list[str]:
    return [
        f"{quality.frechet:.1f}",
        *(
            f"{share:.3f}"
            for share in (quality.concept_at_1, quality.concept_at_5, quality.group, quality.style)
        ),
    ]


def markdown(
    table: Sequence[Sequence[str]], settings: Mapping[str, Any], missing: Sequence[str]
) -> str:
    def bar(parts: Sequence[str]) -> str:
        return "| " + " | ".join(parts) + " |"

    lines = [
        "# The paper's table, in kind",
        "",
        "`python -m benchmarks.paper_table` writes this file.",
        "",
        bar(HEADS),
        bar(["---"] * len(HEADS)),
        *map(bar, table),
        "",
        *(f"* {name}: {value}" for name, value in settings.items()),
    ]
    if missing:
        lines += ["", f"Not measured, for want of a trained drafter: {', '.join(missing)}."]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    typer.run(main)
