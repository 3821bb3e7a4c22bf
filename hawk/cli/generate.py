"""`hawk generate`: images of a few prompts, as files."""

import contextlib
import json
from collections.abc import Generator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hawk.cli.command import command
from hawk.cli.options import (
    JsonOption,
    SeedOption,
    progress_bar,
    quiet_transformers,
    read_prompts,
    was_given,
)
from hawk.cluster.placement import parse_placement
from hawk.images.example import Example
from hawk.settings import DraftSettings, ModelSettings, SamplerSettings, changed, refuse_apart

if TYPE_CHECKING:
    from hawk.cluster.pair import SpeculativePair
    from hawk.decoding.request import Request
    from hawk.image_maker import ImageMaker
    from hawk.images.gallery import Gallery
    from hawk.pictures import Picture, Result
    from hawk.pipeline import Pipeline


@command
def generate(
    context: typer.Context,
    prompts: Annotated[list[str] | None, typer.Argument(help="What the images show.")] = None,
    prompts_file: Annotated[
        Path | None, typer.Option(help="UTF-8 text, a prompt a line; - is standard input.")
    ] = None,
    like: Annotated[
        Path | None,
        typer.Option(help="Picture of Hawk to make again; other options change what is given."),
    ] = None,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder for the images; those in it stay.")
    ] = Path("hawk-images"),
    n: Annotated[int, typer.Option("-n", help="Images a prompt.")] = 1,
    compare: Annotated[
        bool, typer.Option("--compare", help="Make them by plain decoding too, and compare.")
    ] = False,
    model: ModelSettings = ModelSettings(),
    drafting: DraftSettings = DraftSettings(),
    seed: SeedOption = 0,
    sampling: SamplerSettings = SamplerSettings(),
    as_json: JsonOption = False,
) -> None:
    """Make images of prompts: PNG files that say what made them, and a contact sheet."""
    quiet_transformers()
    from hawk.images.gallery import Gallery
    from hawk.pipeline import Pipeline

    texts = read_prompts(prompts, prompts_file, needed=like is None)
    example = None if like is None else Example.read(like, _given(context))
    if example is not None:
        given = example.settings()
        texts, seed = texts or [given["prompt"]], given.get("seed", seed)
        model, drafting, sampling = (
            changed(model, given),
            changed(drafting, given),
            changed(sampling, given),
        )
    gallery = Gallery(out)
    with _loaded(model, drafting) as maker:
        if example is not None:
            example.refuse_other_weights(maker.maker)
        requests = maker.requests(
            texts,
            seed=seed,
            n=n,
            guidance=sampling.guidance,
            sampler=maker.target.default_sampler.override(**sampling.sampler),
            negative_prompt=sampling.negative_prompt,
        )
        result = _run(maker, requests, gallery, model.size)
        report = result.summary() | {
            "images": [gallery.describe(picture) for picture in result.pictures],
            "failures": [
                {"prompt": failed.request.prompt, "error": failed.error}
                for failed in result.failures
            ],
            "contact_sheet": str(gallery.write_sheet()) if result.pictures else None,
        }
        if not isinstance(maker, Pipeline):
            report["pair"] = maker.summary()
    if example is not None:
        report["like"] = example.compare(result)
    if compare:
        plain = Pipeline.load(model, replace(drafting, drafter="plain"))
        report["plain"] = _comparison(plain.run(requests), result)
    _show(report, as_json=as_json)
    if report["failures"]:
        raise typer.Exit(1)


def _given(context: typer.Context) -> frozenset[str]:
    """Names of the options that the user gave."""
    return frozenset(name for name in context.params if was_given(context, name))


@contextlib.contextmanager
def _loaded(
    model: ModelSettings, drafting: DraftSettings
) -> Generator["Pipeline | SpeculativePair", None, None]:
    """Maker of the images: in this process, or in those of a pair until the block ends."""
    refuse_apart(model, drafting.placement)  # before Ray takes its time to start
    where = parse_placement(drafting.placement)
    if where is None:
        from hawk.pipeline import Pipeline

        yield Pipeline.load(model, drafting)
        return
    from hawk.cluster.ray_connection import connected

    with connected(None, cpus=where.cpus):
        from hawk.cluster.pair import SpeculativePair

        with SpeculativePair(model, drafting, where) as pair:
            yield pair


def _run(
    maker: "ImageMaker", requests: Sequence["Request"], gallery: "Gallery", size: str | None
) -> "Result":
    with progress_bar() as progress:
        task = progress.add_task("images", total=len(requests))

        def finished(picture: "Picture") -> None:
            gallery.add(picture, maker.maker, size)
            progress.advance(task)

        return maker.run(requests, each=finished)


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
    for image in report["images"]:
        typer.echo(f"{image['path']}  seed {image['seed']}  {image['prompt']!r}")
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
    if report.get("like"):
        same = "the same tokens as" if report["like"]["same"] else "not the same tokens as"
        typer.echo(f"{same} {report['like']['file']}")
    for failed in report["failures"]:
        typer.echo(f"hawk: no image of {failed['prompt']!r}: {failed['error']}", err=True)
    if report["contact_sheet"]:
        typer.echo(f"pictures: {report['contact_sheet']}")
