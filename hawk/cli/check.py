"""The command of `hawk` that proves a model on this machine."""

import json
from pathlib import Path
from typing import Annotated

import typer

from hawk.cli.options import (
    DebugOption,
    DeviceOption,
    DrafterOption,
    DtypeOption,
    JsonOption,
    SizeOption,
    errors_reported,
    quiet_transformers,
)


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
    drafter: DrafterOption = "auto",
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
    size: SizeOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Prove code and weights of a model beside transformers, on this machine.

    Prompt ids, logits, pixels and a picture: a line a check, and a report for bug reports.
    """
    from hawk.decoding.bounds import parse_size

    with errors_reported(debug=debug):
        quiet_transformers()
        from hawk.check.examination import Asked, examine
        from hawk.check.finding import Record
        from hawk.check.report import Folder, report

        asked = Asked(
            model=model,
            drafter=drafter,
            device=device,
            dtype=dtype,
            size=parse_size(size),
            prompt=prompt,
            seed=seed,
        )
        record = Record(tell=lambda finding: None if as_json else typer.echo(str(finding)))
        folder = Folder(out)
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
