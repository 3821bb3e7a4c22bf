"""`hawk serve`: its options. All else is in `hawk/serving/`, which needs the extra `serve`."""

import importlib.util
import json
import os
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Annotated, Any

import typer

from hawk.cli.options import (
    DebugOption,
    FileCompileOption,
    FileDeviceOption,
    FileDtypeOption,
    FileModelOption,
    FilePlacementOption,
    FileSlotsOption,
    JsonOption,
    PromptLimitOption,
    SizeOption,
    errors_reported,
)

NEEDED = ("fastapi", "prometheus_client", "ray", "yaml")

ConfigOption = Annotated[Path | None, typer.Option(help="YAML file; options override it.")]
CheckOption = Annotated[Path | None, typer.Option(help="Only say whether this YAML file is right.")]
HostOption = Annotated[
    str | None, typer.Option(help="Others need HAWK_API_KEYS.", show_default="127.0.0.1")
]
PortOption = Annotated[int | None, typer.Option(show_default="8000")]


def serve(
    config: ConfigOption = None,
    check: CheckOption = None,
    host: HostOption = None,
    port: PortOption = None,
    model: FileModelOption = None,
    size: SizeOption = None,
    slots: FileSlotsOption = None,
    prompt_limit: PromptLimitOption = None,
    device: FileDeviceOption = None,
    dtype: FileDtypeOption = None,
    compile_layers: FileCompileOption = None,
    placement: FilePlacementOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Serve images over HTTP on this machine: OpenAI's API, and a page to play on."""
    options = {
        "model": {
            "name": model,
            "size": size,
            "slots": slots,
            "prompt_limit": prompt_limit,
            "device": device,
            "dtype": dtype,
            "compile": compile_layers,
        },
        "http": {"host": host, "port": port},
        "replicas": {"placement": placement},
    }
    with errors_reported(debug=debug):
        _require()
        if check is not None:
            _check(check)
        else:
            _run(config, options, as_json=as_json)


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
    from hawk.serving import local
    from hawk.serving.config import overridden

    config = overridden(file, options, cpus=os.cpu_count() or 1)

    def ready(address: str) -> None:
        report = {"url": address, "model": config.served_as, "page": address + "/"}
        text = f"{config.served_as} is served at {address}/v1; play at {address}/; Ctrl-C ends it"
        typer.echo(json.dumps(report) if as_json else text, file=stdout)

    stdout = sys.stdout
    with redirect_stdout(sys.stderr):  # Ray prints, too
        local.run(config, ready)
