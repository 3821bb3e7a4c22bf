"""The command of `hawk` that judges images."""

from pathlib import Path
from typing import Annotated

import typer

from hawk.cli.command import Omit, command
from hawk.cli.options import (
    JsonOption,
    SeedOption,
    progress_bar,
    quiet_transformers,
    refuse,
    show,
)
from hawk.settings import ModelSettings, SamplerSettings

# What has no meaning for images that are there.
OF_MAKING = (
    *("drafters", "rules", "guidance", "negative_prompt", "temperature", "top_k", "top_p"),
    *("model", "size", "slots", "dtype", "deterministic", "compile", "prompt_limit", "seed"),
)


@command
def evaluate(
    context: typer.Context,
    real: Annotated[
        Path, typer.Option(help="Real images: what `python -m jobs.emoji.build` wrote.")
    ],
    run: Annotated[
        str | None, typer.Argument(help="Run folder of hawk batch; without it, images are made.")
    ] = None,
    prompts: Annotated[
        int, typer.Option(help="Held-out prompts to make an image of; of a run, images to judge.")
    ] = 200,
    drafters: Annotated[str, typer.Option(help="Comma separated.")] = "auto",
    rules: Annotated[
        str, typer.Option(help="Each drafter by each of them, comma separated.")
    ] = "coupled",
    guidance: Annotated[
        str | None,
        typer.Option(help="Each method at each of them, comma separated.", show_default="model's"),
    ] = None,
    compare: Annotated[
        int, typer.Option(help="Images to make by plain decoding too, to compare tokens.")
    ] = 16,
    model: ModelSettings = ModelSettings(),
    seed: SeedOption = 0,
    sampling: Annotated[SamplerSettings, Omit("guidance")] = SamplerSettings(),
    as_json: JsonOption = False,
) -> None:
    """Judge images beside real ones: those of drafters, rules and guidances, or a batch job's.

    Of a run folder those rows count whose prompt is a caption of a real image.
    """
    if run is not None:
        refuse(context, OF_MAKING, "a run folder holds images already")
    quiet_transformers()
    from hawk.evaluation.encoder import Encoder
    from hawk.evaluation.judge import Judge
    from hawk.evaluation.quality_report import remarks, table
    from hawk.evaluation.real_images import RealImages
    from hawk.evaluation.study import Study, load, measure

    encoder, images = Encoder(), RealImages.load(real)
    if run is None:
        plain, *methods = load(model, drafters.split(","), rules.split(","))
        study = Study(
            asked=images.held_out(prompts),
            guidances=_numbers(guidance) or [plain.target.default_guidance],
            sampler=plain.target.default_sampler.override(**sampling.sampler),
            negative_prompt=sampling.negative_prompt,
            seed=seed,
            compared=compare,
        )
        judge = Judge(encoder, images, study.asked)
        with progress_bar() as bar:
            task = bar.add_task("images", total=study.images(len(methods)))
            found = measure(plain, methods, study, judge, lambda: bar.advance(task))
    else:
        from hawk.batch.run_evaluation import judge_run

        found = judge_run(run, images, encoder, most=prompts, compared=compare, device=model.device)
    show(found.to_json(), table(found), as_json=as_json)
    for remark in [] if as_json else remarks(found):
        typer.echo(remark)


def _numbers(text: str | None) -> list[float]:
    try:
        return [float(part) for part in text.split(",")] if text else []
    except ValueError:
        raise ValueError(f"guidance must be numbers with commas, got {text!r}") from None
