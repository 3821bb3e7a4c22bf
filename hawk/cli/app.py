"""The `hawk` command: a thin coat over the library.

Each command imports what it runs by itself: torch and transformers take seconds, `--help` does not.
"""

import json
from pathlib import Path
from typing import Annotated

import typer

from hawk.cli.batch import batch_app
from hawk.cli.bench import bench
from hawk.cli.check import check
from hawk.cli.command import Omit, command
from hawk.cli.evaluate import evaluate
from hawk.cli.folder import export, inspect
from hawk.cli.generate import generate
from hawk.cli.options import JsonOption, show
from hawk.cli.plan import plan
from hawk.cli.serve import serve
from hawk.cli.train import train_app
from hawk.settings import ModelSettings

app = typer.Typer(
    help="Fast, exact generation with autoregressive text-to-image models.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


app.command()(generate)
app.add_typer(batch_app)
app.command()(inspect)
app.command()(export)
app.command()(serve)
app.command()(plan)
app.command()(bench)
app.command()(check)
app.command()(evaluate)


app.add_typer(train_app, name="train")


@app.command()
@command
def models(as_json: JsonOption = False) -> None:
    """List known models: sizes, defaults, memory, and how far each was tried."""
    from hawk.targets import catalogue

    show(catalogue.report(), catalogue.table(), as_json=as_json)


@app.command()
@command
def convert(
    family: Annotated[str, typer.Argument(help="anole, lumina or llamagen.")],
    checkpoint: Annotated[
        Path, typer.Argument(help="Folder in transformers' layout; LlamaGen: the .pt file.")
    ],
    out: Annotated[Path, typer.Argument(help="New folder, for --model.")],
    vq: Annotated[
        Path | None,
        typer.Option(
            help="Meta's vqgan.ckpt, where the checkpoint's folder has none; "
            "LlamaGen: vq_ds16_t2i.pt."
        ),
    ] = None,
    settings: Annotated[
        ModelSettings,
        Omit("model", "dtype", "deterministic", "device", "compile", "slots", "prompt_limit"),
    ] = ModelSettings(),
    text_encoder: Annotated[
        str, typer.Option(help="LlamaGen: folder or hub id of its T5.")
    ] = "google/flan-t5-xl",
) -> None:
    """Make a published checkpoint that lacks parts, or has another layout, ready for Hawk."""
    from hawk.targets import convert as conversion

    conversion.convert(
        family, checkpoint, out, vq=vq, size=settings.size, text_encoder=text_encoder
    )
    typer.echo(f"{out} is ready: hawk generate --model {out} ...")


@app.command()
@command
def doctor(as_json: JsonOption = False) -> None:
    """Check versions, devices, memory and models; say how to mend what is missing."""
    from hawk.cli import doctor as health

    checks = health.examine()
    if as_json:
        typer.echo(json.dumps([check.__dict__ for check in checks]))
    else:
        for check in checks:
            typer.echo(str(check))
    if not all(check.fine for check in checks if check.needed):
        raise typer.Exit(1)
