"""The `hawk` command: a thin coat over the library.

Each command imports what it runs by itself: torch and transformers take seconds, `--help` does not.
"""

import contextlib
import json
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hawk.batch_cli import batch_app
from hawk.bench_cli import bench
from hawk.check_cli import check
from hawk.evaluate_cli import evaluate
from hawk.options import (
    CompileOption,
    DebugOption,
    DeterministicOption,
    DeviceOption,
    DrafterOption,
    DtypeOption,
    GuidanceOption,
    JsonOption,
    ModelOption,
    NegativeOption,
    PlacementOption,
    PromptLimitOption,
    RuleOption,
    SeedOption,
    SizeOption,
    SlotsOption,
    TemperatureOption,
    TopKOption,
    TopPOption,
    errors_reported,
    progress_bar,
    quiet_transformers,
    read_placement,
    read_prompts,
    show,
)
from hawk.plan_cli import plan
from hawk.serve_cli import serve
from hawk.train_cli import train_app

if TYPE_CHECKING:
    from hawk.cluster.pair import SpeculativePair
    from hawk.cluster.placement import Placement
    from hawk.gallery import Gallery
    from hawk.pipeline import Picture, Pipeline, Result
    from hawk.request import Request

app = typer.Typer(
    help="Fast, exact generation with autoregressive text-to-image models.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


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
    prompt_limit: PromptLimitOption = None,
    deterministic: DeterministicOption = False,
    placement: PlacementOption = "colocated",
    targets_per_drafter: Annotated[
        int | None, typer.Option(help="Of a pair: targets that share a drafter.", show_default="1")
    ] = None,
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
    compile_layers: CompileOption = False,
    seed: SeedOption = 0,
    guidance: GuidanceOption = None,
    negative_prompt: NegativeOption = None,
    size: SizeOption = None,
    temperature: TemperatureOption = None,
    top_k: TopKOption = None,
    top_p: TopPOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Make images of prompts: PNG files and a contact sheet."""
    from hawk.gallery import Gallery
    from hawk.pipeline import Pipeline
    from hawk.size import parse_size

    with errors_reported(debug=debug):
        quiet_transformers()
        texts = read_prompts(prompts, prompts_file)
        gallery = Gallery(out)
        what: dict[str, Any] = {
            "model": model,
            "rule": rule,
            "slots": slots,
            "prompt_limit": prompt_limit,
            "deterministic": deterministic,
            "device": device,
            "dtype": dtype,
            "compile": compile_layers,
            "size": parse_size(size),
        }
        where = read_placement(placement, targets_per_drafter)
        with _loaded(what | {"drafter": drafter}, where) as pipeline:
            requests = pipeline.requests(
                texts,
                seed=seed,
                n=n,
                guidance=guidance,
                sampler=pipeline.target.default_sampler.override(
                    temperature=temperature, top_k=top_k, top_p=top_p
                ),
                negative_prompt=negative_prompt,
            )
            result = _run(pipeline, requests, gallery)
            if not result.pictures:
                raise ArithmeticError(result.failures[0].error)
            report = result.summary() | {
                "images": [gallery.describe(picture) for picture in result.pictures],
                "contact_sheet": str(gallery.write_sheet()),
            }
            if not isinstance(pipeline, Pipeline):
                report["pair"] = pipeline.summary()
        if compare:
            plain = Pipeline.from_pretrained(**what, drafter="plain")
            report["plain"] = _comparison(plain.run(requests), result)
        _show(report, as_json=as_json)
        for failure in result.failures:
            typer.echo(f"hawk: image {failure.place} was not made: {failure.error}", err=True)
    if result.failures:
        raise typer.Exit(1)


app.add_typer(batch_app)
app.command()(serve)
app.command()(plan)
app.command()(bench)
app.command()(check)
app.command()(evaluate)


app.add_typer(train_app, name="train")


@app.command()
def models(as_json: JsonOption = False) -> None:
    """List known models: sizes, defaults, memory, and how far each was tried."""
    from hawk.targets import catalogue

    show(catalogue.report(), catalogue.table(), as_json=as_json)


@app.command()
def convert(
    family: Annotated[str, typer.Argument(help="anole, lumina or llamagen.")],
    checkpoint: Annotated[
        Path, typer.Argument(help="Folder in transformers' layout; LlamaGen: the .pt file.")
    ],
    out: Annotated[Path, typer.Argument(help="New folder, for --model.")],
    vq: Annotated[
        Path | None, typer.Option(help="Meta's vqgan.ckpt; LlamaGen: vq_ds16_t2i.pt.")
    ] = None,
    size: SizeOption = None,
    text_encoder: Annotated[
        str, typer.Option(help="LlamaGen: folder or hub id of its T5.")
    ] = "google/flan-t5-xl",
    debug: DebugOption = False,
) -> None:
    """Make a published checkpoint that lacks parts, or has another layout, ready for Hawk."""
    from hawk.targets import convert as conversion

    with errors_reported(debug=debug):
        conversion.convert(family, checkpoint, out, vq=vq, size=size, text_encoder=text_encoder)
        typer.echo(f"{out} is ready: hawk generate --model {out} ...")


@app.command()
def doctor(as_json: JsonOption = False) -> None:
    """Check versions, devices, memory and models; say how to mend what is missing."""
    from hawk import doctor as health

    checks = health.examine()
    if as_json:
        typer.echo(json.dumps([check.__dict__ for check in checks]))
    else:
        for check in checks:
            typer.echo(str(check))
    if not all(check.fine for check in checks if check.needed):
        raise typer.Exit(1)


@contextlib.contextmanager
def _loaded(
    what: dict[str, Any], where: "Placement | None"
) -> Generator["Pipeline | SpeculativePair", None, None]:
    """What makes the images: in this process, or in those of a pair until the block ends."""
    if where is None:
        from hawk.pipeline import Pipeline

        yield Pipeline.from_pretrained(**what)
        return
    from hawk.cluster.connection import connected

    if what.pop("deterministic"):
        raise ValueError("--deterministic is of one process: leave --placement pair")
    with connected(None, cpus=where.cpus):
        from hawk.cluster.pair import SpeculativePair
        from hawk.cluster.target_actor import Making

        with SpeculativePair(Making(**what), where) as pair:
            yield pair


def _run(
    pipeline: "Pipeline | SpeculativePair", requests: Sequence["Request"], gallery: "Gallery"
) -> "Result":
    with progress_bar() as progress:
        task = progress.add_task("images", total=len(requests))

        def finished(picture: "Picture") -> None:
            gallery.add(picture)
            progress.advance(task)

        return pipeline.run(requests, each=finished)


def _comparison(plain: "Result", result: "Result") -> dict[str, Any]:
    tokens = {picture.place: picture.tokens for picture in plain.pictures}
    same = sum(tokens.get(picture.place) == picture.tokens for picture in result.pictures)
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
    faults = report.get("pair", {}).get("faults")
    if faults:
        told = ", ".join(f"{count} {name}" for name, count in faults.items())
        typer.echo(f"faults of the pair, which change no image: {told}")
    typer.echo(f"pictures: {report['contact_sheet']}")
