"""The command of `hawk` that measures speed."""

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from hawk.options import (
    DebugOption,
    DeviceOption,
    DtypeOption,
    GuidanceOption,
    JsonOption,
    ModelOption,
    SeedOption,
    errors_reported,
    progress_bar,
    quiet_transformers,
    read_placement,
    read_prompts,
)

if TYPE_CHECKING:
    from rich.table import Table

    from hawk.pipeline import Pipeline
    from hawk.request import Request


def bench(
    prompts: Annotated[
        int, typer.Option(help="Images for each batch size, rounded up to full batches.")
    ] = 16,
    prompts_file: Annotated[
        Path | None,
        typer.Option(help="UTF-8 text, a prompt a line.", show_default="eight of our own"),
    ] = None,
    batch: Annotated[
        str, typer.Option(help="Images in flight: each of these sizes, comma separated.")
    ] = "1",
    drafters: Annotated[
        str, typer.Option(help="Measured against plain, comma separated.")
    ] = "auto",
    rules: Annotated[
        str, typer.Option(help="Each drafter by each of them, comma separated.")
    ] = "coupled",
    against: Annotated[
        str | None, typer.Option(help="transformers: its own generate takes part too.")
    ] = None,
    placement: Annotated[
        str,
        typer.Option(help="colocated,pair: measure these two instead, in the largest batch."),
    ] = "colocated",
    random_weights: Annotated[
        str | None,
        typer.Option(
            help="Time the passes of a published model's shape instead, as in janus-pro-7b."
        ),
    ] = None,
    html: Annotated[Path | None, typer.Option(help="Write a page with plots to this file.")] = None,
    model: ModelOption = "emoji",
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
    seed: SeedOption = 0,
    guidance: GuidanceOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Time drafters against plain decoding, batch by batch in turn.

    With --placement colocated,pair: a drafter in the target's process against one in its own.
    """
    if random_weights is not None:
        with errors_reported(debug=debug):
            _without_drafters(against, html)
            _step_times(random_weights, _sizes(batch), device, dtype, guidance, as_json=as_json)
        return
    if placement != "colocated":
        with errors_reported(debug=debug):
            _without_drafters(against, html)
            from hawk.bench.contenders import PROMPTS, plan

            texts = read_prompts(None, prompts_file) if prompts_file else PROMPTS
            what = {"model": model, "device": device, "dtype": dtype, "slots": max(_sizes(batch))}
            what |= {"drafter": drafters, "rule": rules}
            _placements(
                what,
                placement,
                lambda made: plan(made, prompts, seed=seed, guidance=guidance, prompts=texts),
                as_json=as_json,
            )
        return
    with errors_reported(debug=debug):
        quiet_transformers()
        from hawk.bench import page
        from hawk.bench.contenders import PROMPTS, methods, plan
        from hawk.bench.measure import measure, rows
        from hawk.bench.report import Report, table
        from hawk.machine import machine, versions
        from hawk.pipeline import Pipeline

        if against not in (None, "transformers"):
            raise ValueError(f"--against takes transformers, got {against!r}")
        if html is not None:
            page.check_installed()
        sizes, asked = _sizes(batch), methods(drafters.split(","), rules.split(","))
        texts = read_prompts(None, prompts_file) if prompts_file else PROMPTS
        plain = Pipeline.from_pretrained(
            model, drafter="plain", slots=1, device=device, dtype=dtype
        )
        target = plain.target
        requests = plan(plain, prompts, seed=seed, guidance=guidance, prompts=texts)
        contenders = len(asked) + (against is not None)
        images = sum(-(-prompts // size) * size for size in sizes) * contenders
        with progress_bar() as bar:
            task = bar.add_task("images", total=images)
            measured = [
                measure(
                    target,
                    asked,
                    requests,
                    batch=size,
                    transformers=against is not None,
                    each=lambda made: bar.advance(task, made),
                )
                for size in sizes
            ]
        report = Report(
            rows=[row for of_size in measured for row in rows(of_size)],
            settings={
                "model": target.name,
                "model_revision": target.identity.revision,
                "dtype": str(target.head_VX.dtype).removeprefix("torch."),
                "guidance": requests[0].guidance,
                "temperature": requests[0].sampler.temperature,
                "top_k": requests[0].sampler.top_k,
                "top_p": requests[0].sampler.top_p,
                "seed": seed,
            },
            machine=machine(target.device),
            versions=versions(),
            grid=target.grid,
        )
        if html is not None:
            page.write(report, plain.run(requests[:1]).images[0], html)
    _show(report.to_json(), table(report), as_json=as_json)


def _without_drafters(against: str | None, html: Path | None) -> None:
    """ValueError for options that a comparison of placements or a shape cannot heed."""
    if against is not None or html is not None:
        raise ValueError(
            "--against and --html are of drafters: leave --placement and --random-weights"
        )


def _placements(
    what: dict[str, Any],
    placement: str,
    plan: Callable[["Pipeline"], list["Request"]],
    *,
    as_json: bool,
) -> None:
    from hawk.cluster.connection import connected

    quiet_transformers()
    where = read_placement(placement.removeprefix("colocated,"))
    if where is None:
        raise ValueError(f"--placement is colocated,pair here, got {placement!r}")
    with connected(None, cpus=where.cpus), progress_bar() as bar:
        from hawk.cluster import bench

        report, _ = bench.load_and_run(
            what,
            where,
            plan,
            track=lambda batches: bar.track(batches, description="batches"),
        )
    _show(report, bench.table(report), as_json=as_json)


def _step_times(
    model: str,
    batches: Sequence[int],
    device: str,
    dtype: str,
    guidance: float | None,
    *,
    as_json: bool,
) -> None:
    from hawk.bench import step_time
    from hawk.devices import resolve_device, resolve_dtype
    from hawk.targets import catalogue

    place = resolve_device(device)
    report = step_time.measure(
        catalogue.find(model),
        batches,
        guided=guidance != 1,
        dtype=resolve_dtype(dtype, place),
        device=place,
    )
    _show(report, step_time.table(report), as_json=as_json)


def _show(report: dict[str, Any], table: "Table", *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(report))
    else:
        Console(width=None if sys.stdout.isatty() else 160).print(table)


def _sizes(text: str) -> list[int]:
    try:
        found = [int(part) for part in text.split(",")]
    except ValueError:
        found = [0]
    if min(found) < 1:
        raise ValueError(f"batch must be whole numbers from 1 with commas, got {text!r}")
    return found
