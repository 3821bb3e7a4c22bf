"""The command of `hawk` that proves a model on this machine."""

import json
from pathlib import Path
from typing import Annotated

import typer

from hawk.cli.command import Omit, command
from hawk.cli.options import JsonOption, quiet_transformers
from hawk.settings import DraftSettings, ModelSettings


@command
def check(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL", help="Embedded model, folder, or hub id, as id or id@revision."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder for report and picture.")] = Path("hawk-check"),
    prompt: Annotated[
        str, typer.Option(help="What the picture shows; the report names it.")
    ] = "a red apple",
    seed: Annotated[int, typer.Option(help="Seed of the picture.")] = 0,
    drafting: Annotated[DraftSettings, Omit("rule", "placement")] = DraftSettings(),
    settings: Annotated[
        ModelSettings, Omit("model", "deterministic", "compile", "slots", "prompt_limit")
    ] = ModelSettings(),
    as_json: JsonOption = False,
) -> None:
    """Prove code and weights of a model beside transformers, on this machine.

    Prompt ids, logits, pixels and a picture: a line a check, and a report for bug reports.
    """
    quiet_transformers()
    from hawk.check.check_report import ReportFolder, report
    from hawk.check.examination import Asked, examine
    from hawk.check.finding import Record

    asked = Asked(
        model=model,
        drafter=drafting.drafter,
        device=settings.device,
        dtype=settings.dtype,
        size=settings.height_width,
        prompt=prompt,
        seed=seed,
    )
    record = Record(tell=lambda finding: None if as_json else typer.echo(str(finding)))
    folder = ReportFolder(out)
    examined = examine(asked, record)
    found = report(asked, examined, record.findings)
    file = folder.write(found, examined)
    if as_json:
        typer.echo(json.dumps(found | {"report": str(file)}))
    else:
        counts = ", ".join(f"{count} {outcome}" for outcome, count in found["counts"].items())
        typer.echo(f"{counts}; report: {file}")
    if not found["passed"]:
        raise typer.Exit(1)
