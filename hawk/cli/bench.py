"""The command of `hawk` that measures speed."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hawk.cli.command import Omit, command
from hawk.cli.options import (
    JsonOption,
    SeedOption,
    progress_bar,
    quiet_transformers,
    read_prompts,
    refuse,
    show,
)
from hawk.cluster.placement import parse_placement
from hawk.settings import DraftSettings, ModelSettings, SamplerSettings

if TYPE_CHECKING:
    from rich.table import Table

    from hawk.bench.contenders import Method
    from hawk.decoding.request import Request
    from hawk.pipeline import Pipeline
    from hawk.targets.random_target import RandomTarget

    Plan = Callable[[Pipeline], list[Request]]
    Found = tuple[dict[str, Any], Table]  # a report for programs, and for people

# What some modes have no use for.
OF_DRAFTERS = ("against", "html", "nodes", "deterministic")
OF_IMAGES = (
    *("prompts", "prompts_file", "drafters", "rules", "placement", "model", "seed", "size"),
    *("negative_prompt", "temperature", "top_k", "top_p"),
    *OF_DRAFTERS,
)


@command
def bench(
    context: typer.Context,
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
    nodes: Annotated[
        str | None,
        typer.Option(
            help="Tree sizes to force besides the free choice, root included, as in 8,16,32,64."
        ),
    ] = None,
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
    model: Annotated[ModelSettings, Omit("slots", "prompt_limit")] = ModelSettings(),
    seed: SeedOption = 0,
    sampling: SamplerSettings = SamplerSettings(),
    as_json: JsonOption = False,
) -> None:
    """Time drafters against plain decoding, batch by batch in turn.

    With --placement colocated,pair: a drafter in the target's process against one in its own.
    """
    sizes = _sizes("batch", batch)
    if random_weights is not None:
        refuse(context, OF_IMAGES, "--random-weights makes no images")
        target = _random(random_weights, model)
        guided = sampling.guidance != 1
        found = _step_times(target, sizes, guided=guided, compiled=model.compile)
    elif placement == "colocated":
        from hawk.bench.contenders import methods

        chosen = methods(
            drafters.split(","),
            rules.split(","),
            [] if nodes is None else _sizes("nodes", nodes),
            deterministic=model.deterministic,
        )
        plan = _plan(prompts, prompts_file, seed=seed, sampling=sampling)
        found = _drafters(model, chosen, plan, sizes, against, html)
    else:
        refuse(context, OF_DRAFTERS, "--placement compares no drafters")
        plan = _plan(prompts, prompts_file, seed=seed, sampling=sampling)
        drafting = DraftSettings(drafter=drafters, rule=rules, placement=placement)
        found = _placements(replace(model, slots=max(sizes)), drafting, plan)
    show(*found, as_json=as_json)


def _drafters(
    model: ModelSettings,
    chosen: "Sequence[Method]",
    plan: "Plan",
    sizes: Sequence[int],
    against: str | None,
    html: Path | None,
) -> "Found":
    quiet_transformers()
    from hawk.bench import html_report
    from hawk.bench.bench_report import table
    from hawk.bench.comparison import compare
    from hawk.pipeline import Pipeline

    if against not in (None, "transformers"):
        raise ValueError(f"--against takes transformers, got {against!r}")
    if html is not None:
        html_report.check_installed()
    plain = Pipeline.load(replace(model, slots=1), DraftSettings(drafter="plain"))
    requests = plan(plain)
    with progress_bar() as bar:
        task = bar.add_task("images", total=None)
        report = compare(
            plain,
            chosen,
            requests,
            batches=sizes,
            transformers=against is not None,
            each=lambda made, of: bar.update(task, completed=made, total=of),
        )
    if html is not None:
        html_report.write(report, plain.run(requests[:1]).images[0], html)
    return report.to_json(), table(report)


def _placements(model: ModelSettings, drafting: DraftSettings, plan: "Plan") -> "Found":
    quiet_transformers()
    where = parse_placement(drafting.placement.removeprefix("colocated,"))
    if where is None:
        raise ValueError(f"--placement is colocated,pair here, got {drafting.placement!r}")
    from hawk.cluster.ray_connection import connected

    with connected(None, cpus=where.cpus), progress_bar() as bar:
        from hawk.cluster import pair_bench

        report, _ = pair_bench.load_and_run(
            model,
            drafting,
            where,
            plan,
            track=lambda batches: bar.track(batches, description="batches"),
        )
    return report, pair_bench.table(report)


def _random(shape: str, model: ModelSettings) -> "RandomTarget":
    from hawk.devices import resolve_device, resolve_dtype
    from hawk.targets import catalogue
    from hawk.targets.random_target import RandomTarget

    place = resolve_device(model.device)
    dtype = resolve_dtype(model.dtype, place)
    return RandomTarget(catalogue.find(shape), dtype=dtype, device=place)


def _step_times(
    target: "RandomTarget", batches: Sequence[int], *, guided: bool, compiled: bool
) -> "Found":
    from hawk.bench import step_time

    report = step_time.measure(target, batches, guided=guided, compiled=compiled)
    return report, step_time.table(report)


def _plan(images: int, file: Path | None, **settings: Any) -> "Plan":
    from hawk.bench.contenders import PROMPTS, plan

    texts = PROMPTS if file is None else read_prompts(None, file)
    return partial(plan, images=images, prompts=texts, **settings)


def _sizes(name: str, text: str) -> list[int]:
    try:
        found = [int(part) for part in text.split(",")]
    except ValueError:
        found = [0]
    if min(found) < 1:
        raise ValueError(f"{name} must be whole numbers from 1 with commas, got {text!r}")
    return found
