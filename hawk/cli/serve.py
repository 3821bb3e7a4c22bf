"""`hawk serve`: its options. All else is in `hawk/serving/`, which needs the extra `serve`."""

import importlib.util
import json
import os
import sys
from contextlib import redirect_stdout
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from hawk.cli.command import Omit, command
from hawk.cli.options import JsonOption, was_given
from hawk.settings import DraftSettings, ModelSettings

NEEDED = ("fastapi", "prometheus_client", "ray", "yaml")

ConfigOption = Annotated[Path | None, typer.Option(help="YAML file; options override it.")]
CheckOption = Annotated[Path | None, typer.Option(help="Only say whether this YAML file is right.")]
HostOption = Annotated[
    str | None, typer.Option(help="Others need HAWK_API_KEYS.", show_default="127.0.0.1")
]
PortOption = Annotated[int | None, typer.Option(show_default="8000")]


@command
def serve(
    context: typer.Context,
    config: ConfigOption = None,
    check: CheckOption = None,
    host: HostOption = None,
    port: PortOption = None,
    model: ModelSettings = ModelSettings(),
    drafting: Annotated[DraftSettings, Omit("drafter", "rule")] = DraftSettings(),
    as_json: JsonOption = False,
) -> None:
    """Serve images over HTTP on this machine: OpenAI's API, and a page to play on."""
    _require()
    if check is not None:
        _check(check)
        return
    sections = {
        "model": asdict(model),
        "http": {"host": host, "port": port},
        "replicas": {"placement": drafting.placement},
    }
    given = {
        section: {name: value for name, value in values.items() if was_given(context, name)}
        for section, values in sections.items()
    }
    if "model" in given["model"]:
        given["model"]["name"] = given["model"].pop("model")
    _run(config, given, as_json=as_json)


def _require() -> None:
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise RuntimeError(
            f"serving needs {', '.join(missing)}: run `pip install 'hawk-t2i[serve]'`, or "
            f"`pip install -e '.[serve]'` in the repository"
        )


def _check(file: Path) -> None:
    from hawk.serving.config import read_config

    read_config(file)
    typer.echo(f"{file} is fine")


def _run(file: Path | None, options: dict[str, dict[str, Any]], *, as_json: bool) -> None:
    from hawk.serving import local_service
    from hawk.serving.config import overridden

    config = overridden(file, options, cpus=os.cpu_count() or 1)

    def ready(address: str) -> None:
        report = {"url": address, "model": config.served_as, "page": address + "/"}
        text = f"{config.served_as} is served at {address}/v1; play at {address}/; Ctrl-C ends it"
        typer.echo(json.dumps(report) if as_json else text, file=stdout)

    stdout = sys.stdout
    with redirect_stdout(sys.stderr):  # Ray prints, too
        local_service.run(config, ready)
