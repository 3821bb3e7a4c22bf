"""The command of `hawk` that trains drafters."""

import json
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hawk.cli.command import command
from hawk.cli.options import JsonOption, progress_bar, quiet_transformers, read_prompts
from hawk.settings import DraftSettings, ModelSettings, SamplerSettings

if TYPE_CHECKING:
    from hawk.training.train import Recorder

train_app = typer.Typer(help="Train what Hawk drafts with.", no_args_is_help=True)


@train_app.callback()
def group() -> None:
    """Train what Hawk drafts with."""


@train_app.command()
@command
def drafter(
    prompts: Annotated[
        Path, typer.Option(help="UTF-8 text, a prompt a line; - is standard input.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for the drafter, for --drafter to take.")],
    kind: Annotated[str, typer.Option(help="hawk, spatial or local.")] = "hawk",
    run: Annotated[
        Path | None,
        typer.Option(
            help="Folder for recorded images, checkpoints and logs; a second call goes on from it.",
            show_default="OUT.run",
        ),
    ] = None,
    images: Annotated[int, typer.Option(help="Images to record.")] = 400,
    workers: Annotated[
        int, typer.Option(help="Processes that record, with a model each; needs Ray beyond 1.")
    ] = 1,
    steps: Annotated[int, typer.Option(help="Batches to train on.")] = 2000,
    model: ModelSettings = ModelSettings(),
    sampling: SamplerSettings = SamplerSettings(),
    as_json: JsonOption = False,
) -> None:
    """Train a drafter for a model: record what the model does, then learn from it.

    It fits this model, size, sampler and guidance; more --slots record faster on a GPU.
    """
    from hawk.pipeline import Pipeline
    from hawk.training import plot
    from hawk.training.corpus import record
    from hawk.training.train import Course, need, plan, train

    with progress_bar() as bar:
        quiet_transformers()

        def progress(name: str, total: int) -> Callable[[int], object]:
            task = bar.add_task(name, total=total)
            return lambda done: bar.advance(task, done)

        if workers < 1:
            raise ValueError(f"workers must be 1 or more, got {workers}")
        texts = read_prompts(None, prompts)
        target = Pipeline.load(model, DraftSettings(drafter="plain")).target
        course = Course(
            kind=kind,
            requests=plan(target, texts, images, sampling),
            slots=model.slots,
            steps=steps,
            deterministic=model.deterministic,
        )
        folder = run or out.with_name(out.name + ".run")
        bar.console.print(str(need(target, course, folder)))
        recorder = record if workers == 1 else _many_hands(model, workers)
        acceptance = train(
            target, course, run=folder, out=out, progress=progress, recorder=recorder
        )
        drawn = plot.draw(folder / f"{kind}.jsonl", out / "training.png")
    if as_json:
        typer.echo(json.dumps({"drafter": str(out), "kind": kind, "acceptance": acceptance}))
        return
    for source, shares in acceptance.items():
        tops = ", ".join(f"{share:.3f} in the best {top}" for top, share in shares["top"].items())
        typer.echo(f"{source}: the true token is {tops}")
    typer.echo(f"drafter: {out}")
    if drawn:
        typer.echo(f"losses and acceptance: {out / 'training.png'}")
    else:
        typer.echo("no plot of losses: that needs pip install 'hawk-t2i[train]'")


def _many_hands(model: ModelSettings, workers: int) -> "Recorder":
    """Recording by several processes. ValueError where Ray is not installed."""
    if find_spec("ray") is None or find_spec("pyarrow") is None:
        raise ValueError("more than one worker needs Ray: pip install 'hawk-t2i[ray]'")
    from hawk.batch.record import record

    return partial(record, model=model, workers=workers)
