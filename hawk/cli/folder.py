"""The commands of `hawk` that look at run folders of batch jobs."""

import json
from pathlib import Path
from typing import Annotated

import typer

from hawk.cli.batch import EndpointOption, OutArgument, require_ray
from hawk.cli.command import command
from hawk.cli.options import JsonOption


@command
def inspect(
    out: OutArgument,
    row: Annotated[str | None, typer.Option("--id", help="Show one row.")] = None,
    png: Annotated[Path | None, typer.Option(help="Write that row's picture here.")] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Read every file; exits 1 where one is damaged.")
    ] = False,
    s3_endpoint: EndpointOption = None,
    as_json: JsonOption = False,
) -> None:
    """Counts, speeds and errors of a run folder; one row and its picture."""
    require_ray()
    from hawk.batch import inspection
    from hawk.storage.folder import Folder

    folder = Folder(out, endpoint=s3_endpoint)
    if row is None:
        report = inspection.inspect(folder, verify=verify)
    else:
        report = inspection.find_row(folder, row)
        image = report.pop("image")
        if png is not None and image is None:
            raise ValueError(f"row {row!r} has no picture: {report['error']}")
        if png is not None:
            png.write_bytes(image["bytes"])
    if as_json:
        typer.echo(json.dumps(report, default=str))
    else:
        for name, value in report.items():
            typer.echo(f"{name:20} {'-' if value is None else value}")
    if verify and report.get("damaged"):
        raise typer.Exit(1)


@command
def export(
    out: OutArgument,
    folder: Annotated[str, typer.Argument(help="New folder, or s3://bucket/folder.")],
    name: Annotated[
        str | None,
        typer.Option(
            help="Name of each picture, with {id}, {item}, {n}, {index}, {seed}; a folder may be "
            "part of it, and its ending is the format: .png, .jpg or .webp.",
            show_default="{id}.png",
        ),
    ] = None,
    layout: Annotated[
        str | None,
        typer.Option(help="geneval, dpg-bench, webdataset (tar files) or hub (a data set)."),
    ] = None,
    webdataset: Annotated[
        bool, typer.Option("--webdataset", help="As --layout webdataset.")
    ] = False,
    s3_endpoint: EndpointOption = None,
    as_json: JsonOption = False,
) -> None:
    """Copy the pictures of a run folder out as files, for scorers, trainers and hubs."""
    require_ray()
    from hawk.batch import export as exports
    from hawk.storage.folder import Folder

    layout = "webdataset" if webdataset else layout
    if layout is not None and name is not None:
        raise ValueError(f"the layout {layout} names its files itself: leave out --name")
    if layout is not None and layout not in exports.LAYOUTS:
        raise ValueError(f"no layout {layout!r}: choose from {', '.join(exports.LAYOUTS)}")
    files = exports.LAYOUTS[layout] if layout else exports.named(name or "{id}.png")
    source = Folder(out, endpoint=s3_endpoint)
    report = exports.export(source, Folder(folder, endpoint=s3_endpoint), files)
    if as_json:
        typer.echo(json.dumps(report))
        return
    typer.echo(f"{report['files']} files: {report['out']}")
    if report["rows_without_picture"]:
        typer.echo(f"{report['rows_without_picture']} rows have an error and no picture")
