"""`hawk generate`: images of a few prompts, as files."""

import contextlib
import json
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hawk.cli.options import (
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
    read_prompts,
)
from hawk.cluster.placement import parse_placement
from hawk.decoding.bounds import parse_size
from hawk.images.example import Example

if TYPE_CHECKING:
    from hawk.cluster.pair import SpeculativePair
    from hawk.cluster.placement import Placement
    from hawk.decoding.request import Request
    from hawk.images.gallery import Gallery
    from hawk.images.origin import Maker
    from hawk.pipeline import Picture, Pipeline, Result


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
    model: ModelOption = "emoji",
    drafter: DrafterOption = "auto",
    rule: RuleOption = "coupled",
    slots: SlotsOption = 8,
    prompt_limit: PromptLimitOption = None,
    deterministic: DeterministicOption = False,
    placement: PlacementOption = "colocated",
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
    """Make images of prompts: PNG files that say what made them, and a contact sheet."""
    with errors_reported(debug=debug):
        from hawk.images.gallery import Gallery
        from hawk.pipeline import Pipeline

        quiet_transformers()
        asked: dict[str, Any] = {
            "prompts": read_prompts(prompts, prompts_file, needed=like is None),
            "model": model,
            "drafter": drafter,
            "rule": rule,
            "dtype": dtype,
            "size": size,
            "seed": seed,
            "guidance": guidance,
            "negative_prompt": negative_prompt,
            "temperature": temperature,
            "top_k": top_k,
            "top_p": top_p,
        }
        example = None if like is None else Example.read(like, context)
        if example is not None:
            asked |= example.settings(asked["prompts"])
        gallery = Gallery(out)
        what: dict[str, Any] = {name: asked[name] for name in ("model", "rule", "dtype")} | {
            "slots": slots,
            "prompt_limit": prompt_limit,
            "deterministic": deterministic,
            "device": device,
            "compile": compile_layers,
            "size": parse_size(asked["size"]),
        }
        where = parse_placement(placement)
        with _loaded(what | {"drafter": asked["drafter"]}, where) as pipeline:
            maker = _maker(pipeline, asked["dtype"])
            if example is not None:
                example.refuse_other_weights(maker)
            requests = _requests(pipeline, asked, n)
            result = _run(pipeline, requests, gallery, maker, asked["size"])
            report = result.summary() | {
                "images": [gallery.describe(picture) for picture in result.pictures],
                "failures": [
                    {"prompt": failed.request.prompt, "error": failed.error}
                    for failed in result.failures
                ],
                "contact_sheet": str(gallery.write_sheet()) if result.pictures else None,
            }
            if not isinstance(pipeline, Pipeline):
                report["pair"] = pipeline.summary()
        if example is not None:
            report["like"] = example.compare(result)
        if compare:
            plain = Pipeline.from_pretrained(**what, drafter="plain")
            report["plain"] = _comparison(plain.run(requests), result)
        _show(report, as_json=as_json)
    if report["failures"]:
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


def _maker(pipeline: "Pipeline | SpeculativePair", dtype: str) -> "Maker":
    from hawk.devices import dtype_name
    from hawk.images.origin import Maker
    from hawk.pipeline import Pipeline

    if isinstance(pipeline, Pipeline):
        target = pipeline.target
        return Maker(
            model=target.name,
            model_revision=target.identity.revision,
            drafter=pipeline.drafter,
            rule=pipeline.rule_name,
            dtype=dtype_name(dtype, target.device),
        )
    facts = pipeline.target
    return Maker(
        model=facts.name,
        model_revision=facts.revision,
        drafter=facts.drafter,
        rule=facts.rule,
        dtype=facts.dtype,
    )


def _requests(
    pipeline: "Pipeline | SpeculativePair", asked: dict[str, Any], n: int
) -> "list[Request]":
    return pipeline.requests(
        asked["prompts"],
        seed=asked["seed"],
        n=n,
        guidance=asked["guidance"],
        sampler=pipeline.target.default_sampler.override(
            temperature=asked["temperature"], top_k=asked["top_k"], top_p=asked["top_p"]
        ),
        negative_prompt=asked["negative_prompt"],
    )


def _run(
    pipeline: "Pipeline | SpeculativePair",
    requests: Sequence["Request"],
    gallery: "Gallery",
    maker: "Maker",
    size: str | None,
) -> "Result":
    with progress_bar() as progress:
        task = progress.add_task("images", total=len(requests))

        def finished(picture: "Picture") -> None:
            gallery.add(picture, maker, size)
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
