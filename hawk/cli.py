"""The `hawk` command: a thin coat over the library."""

import contextlib
import json
import sys
from collections.abc import Generator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text
from transformers.utils import logging as transformers_logging

from hawk import bench as benchmark
from hawk import doctor as health
from hawk.gallery import Gallery
from hawk.pipeline import Picture, Pipeline, Result
from hawk.request import Request
from hawk.sampler import SamplerConfig
from hawk.targets import EMBEDDED, FAMILIES

app = typer.Typer(
    help="Fast, exact generation with autoregressive text-to-image models.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
USAGE_ERRORS = (ValueError, FileNotFoundError, PermissionError, FileExistsError, NotADirectoryError)
screen = Console(stderr=True)  # for people; stdout is for results
transformers_logging.disable_progress_bar()  # one bar at a time, and it is ours

ModelOption = Annotated[str, typer.Option(help="Embedded model, folder, or transformers hub id.")]
DrafterOption = Annotated[str, typer.Option(help="auto, a name, or the folder of a trained one.")]
RuleOption = Annotated[str, typer.Option(help="Acceptance rule: coupled.")]
SlotsOption = Annotated[int, typer.Option(help="Images in flight at most.")]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...")]
DtypeOption = Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.")]
SeedOption = Annotated[int, typer.Option(help="Seed of the first image of every prompt.")]
GuidanceOption = Annotated[
    float | None, typer.Option(help="Classifier-free guidance, 1 is none.", show_default="model's")
]
TemperatureOption = Annotated[
    float | None, typer.Option(help="0 takes the likeliest token.", show_default="model's")
]
TopKOption = Annotated[
    int | None, typer.Option(help="Keep the k likeliest tokens, 0 all.", show_default="model's")
]
TopPOption = Annotated[
    float | None, typer.Option(help="Keep the likeliest mass p.", show_default="model's")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Last line of stdout is a JSON object.")]
DebugOption = Annotated[bool, typer.Option("--debug", help="Show tracebacks.")]


@app.command()
def generate(
    prompts: Annotated[list[str] | None, typer.Argument(help="What the images show.")] = None,
    prompts_file: Annotated[
        Path | None, typer.Option(help="UTF-8 text, a prompt a line; - is standard input.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for the images.")] = Path("hawk-images"),
    n: Annotated[int, typer.Option("-n", help="Images a prompt.")] = 1,
    compare: Annotated[
        bool, typer.Option("--compare", help="Make them by plain decoding too, and compare.")
    ] = False,
    model: ModelOption = "emoji",
    drafter: DrafterOption = "auto",
    rule: RuleOption = "coupled",
    slots: SlotsOption = 8,
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
    seed: SeedOption = 0,
    guidance: GuidanceOption = None,
    temperature: TemperatureOption = None,
    top_k: TopKOption = None,
    top_p: TopPOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Make images of prompts: PNG files and a contact sheet."""
    with errors_reported(debug=debug):
        texts = read_prompts(prompts, prompts_file)
        gallery = Gallery(out)
        pipeline = Pipeline.from_pretrained(
            model, drafter=drafter, rule=rule, slots=slots, device=device, dtype=dtype
        )
        sampler = _sampler(pipeline, temperature, top_k, top_p)
        requests = pipeline.requests(texts, seed=seed, n=n, guidance=guidance, sampler=sampler)
        result = _run(pipeline, requests, gallery)
        report = result.summary() | {
            "images": [gallery.describe(picture) for picture in result.pictures],
            "contact_sheet": str(gallery.write_sheet()),
        }
        if compare:
            plain = Pipeline(pipeline.target, drafter="plain", rule=rule, slots=slots)
            report["plain"] = _comparison(plain.run(requests), result)
        _show(report, as_json=as_json)


@app.command()
def bench(
    images: Annotated[int, typer.Option(help="How many, one at a time.")] = 64,
    drafters: Annotated[
        str, typer.Option(help="Measured against plain, comma separated.")
    ] = "auto",
    hf: Annotated[bool, typer.Option(help="Measure transformers' own generate too.")] = True,
    model: ModelOption = "emoji",
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
    seed: SeedOption = 0,
    guidance: GuidanceOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Time drafters against plain decoding and transformers, image by image in turn."""
    with errors_reported(debug=debug):
        names = list(dict.fromkeys(["plain", *drafters.split(",")]))
        pipelines = benchmark.load(model, names, device=device, dtype=dtype)
        plan = benchmark.plan(pipelines["plain"], images, seed=seed, guidance=guidance)
        with progress_bar() as progress:
            report = benchmark.run(pipelines, progress.track(plan, description="images"), hf=hf)
        if as_json:
            typer.echo(json.dumps(report))
        else:
            Console().print(benchmark.table(report))


@app.command()
def models(as_json: JsonOption = False) -> None:
    """List the models that need no download and the families that can be loaded."""
    report = {"embedded": list(EMBEDDED), "families": list(FAMILIES)}
    if as_json:
        typer.echo(json.dumps(report))
    else:
        typer.echo(f"embedded: {', '.join(EMBEDDED)}")
        typer.echo(f"families, from a folder or hub id: {', '.join(FAMILIES)}")


@app.command()
def doctor(as_json: JsonOption = False) -> None:
    """Check versions, devices, memory and models; say how to mend what is missing."""
    checks = health.examine()
    if as_json:
        typer.echo(json.dumps([check.__dict__ for check in checks]))
    else:
        for check in checks:
            typer.echo(str(check))
    if not all(check.fine for check in checks if check.needed):
        raise typer.Exit(1)


@contextlib.contextmanager
def errors_reported(*, debug: bool) -> Generator[None, None, None]:
    """One sentence on stderr: exit 2 for what the user gave, 1 for what went wrong."""
    try:
        yield
    except (ValueError, OSError, MemoryError, ArithmeticError, RuntimeError) as error:
        if debug:
            raise
        typer.echo(f"hawk: {_sentence(error)}", err=True)
        raise typer.Exit(2 if isinstance(error, USAGE_ERRORS) else 1) from error


def _sentence(error: Exception) -> str:
    text = str(error) or type(error).__name__
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "not enough memory" in text:
        return "out of memory: lower --slots, or use --dtype bfloat16"
    return text


def read_prompts(arguments: Sequence[str] | None, file: Path | None) -> list[str]:
    """Prompts of the command line, then those of the file; its blank lines are passed over."""
    texts = list(arguments or [])
    if file is not None:
        raw = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
        try:
            lines = raw.decode("utf-8-sig").splitlines()
        except UnicodeDecodeError as error:
            raise ValueError(f"{file} is not UTF-8 text: {error}") from error
        texts += [line.strip() for line in lines if line.strip()]
    if not texts:
        raise ValueError("no prompts: give some as arguments or with --prompts-file")
    return texts


def _sampler(
    pipeline: Pipeline, temperature: float | None, top_k: int | None, top_p: float | None
) -> SamplerConfig:
    asked = {"temperature": temperature, "top_k": top_k, "top_p": top_p}
    given: dict[str, Any] = {name: value for name, value in asked.items() if value is not None}
    return replace(pipeline.target.default_sampler, **given)


class _Rate(ProgressColumn):
    """Images a second."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:.2f} images/s" if task.speed else "")


def progress_bar() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _Rate())
    return Progress(*columns, TimeRemainingColumn(), console=screen)


def _run(pipeline: Pipeline, requests: Sequence[Request], gallery: Gallery) -> Result:
    with progress_bar() as progress:
        task = progress.add_task("images", total=len(requests))

        def finished(picture: Picture) -> None:
            gallery.add(picture)
            progress.advance(task)

        return pipeline.run(requests, each=finished)


def _comparison(plain: Result, result: Result) -> dict[str, Any]:
    same = sum(a.tokens == b.tokens for a, b in zip(plain.pictures, result.pictures, strict=True))
    return plain.summary() | {
        "speed_up": round(plain.seconds / result.seconds, 3),
        "identical_images": same,
    }


def _show(report: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(report))
        return
    typer.echo(
        f"{len(report['images'])} images in {report['seconds']:.1f} s with {report['drafter']}: "
        f"{report['tokens']} tokens in {report['forwards']} forwards, "
        f"{report['tokens_per_forward']:.2f} tokens per forward"
    )
    if "plain" in report:
        plain = report["plain"]
        typer.echo(
            f"plain decoding: {plain['seconds']:.1f} s, {plain['forwards']} forwards; "
            f"{report['drafter']} is {plain['speed_up']:.2f}x as fast, "
            f"{plain['identical_images']} of {len(report['images'])} images identical"
        )
    typer.echo(f"pictures: {report['contact_sheet']}")


import hawk.train_cli  # noqa: E402, F401  # pyright: ignore[reportUnusedImport] adds commands
