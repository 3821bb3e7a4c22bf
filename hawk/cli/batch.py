"""The commands of `hawk` that run batch jobs; they need Ray and say so where it is missing."""

import json
from importlib.util import find_spec
from typing import Annotated, Any

import typer
from typer.main import get_group

from hawk.batch.job_settings import JobSettings, WorkerSettings
from hawk.cli.command import command
from hawk.cli.options import JsonOption, screen
from hawk.settings import DraftSettings, ModelSettings, SamplerSettings, changed
from hawk.stop import stoppable

SOME_FAILED = 3

batch_app = typer.Typer()
jobs_app = typer.Typer(help="Follow jobs on a Ray cluster.", no_args_is_help=True)
batch_app.add_typer(jobs_app, name="jobs")

PromptsArgument = Annotated[
    str,
    typer.Argument(
        help="txt, csv, tsv, json, jsonl or parquet: a file, folder or glob, on disk or s3://."
    ),
]
OutArgument = Annotated[str, typer.Argument(help="Run folder, or s3://bucket/folder.")]
FileRowsOption = Annotated[
    int | None,
    typer.Option(help="Rows of each Parquet file.", show_default="about 128 MB of images"),
]
BatchSeedOption = Annotated[
    int, typer.Option(help="Number that goes into the seeds of rows that have none.")
]
AddressOption = Annotated[
    str | None,
    typer.Option(help="Address of a Ray cluster.", show_default="RAY_ADDRESS, else this machine"),
]
EndpointOption = Annotated[
    str | None,
    typer.Option(help="URL of an S3 other than Amazon's.", show_default="AWS_ENDPOINT_URL"),
]
DashboardOption = Annotated[
    str | None,
    typer.Option(help="http://HOST:8265 of a Ray cluster.", show_default="RAY_ADDRESS"),
]
JobArgument = Annotated[
    str, typer.Argument(help="Id that `hawk submit` and `hawk jobs list` show.")
]
PromptColumnOption = Annotated[
    str | None,
    typer.Option(help="Column of the prompts.", show_default="prompt, caption, text, ..."),
]
IdColumnOption = Annotated[
    str | None, typer.Option(help="Column of the ids.", show_default="id, item_id, prompt_id")
]
KeepOption = Annotated[
    str,
    typer.Option(
        help="Other columns that go to the output as input_NAME: names with commas, all or none."
    ),
]


@batch_app.command()
@command
def batch(
    prompts: PromptsArgument,
    out: OutArgument,
    prompt_column: PromptColumnOption = None,
    id_column: IdColumnOption = None,
    keep_columns: KeepOption = "all",
    rows_per_file: FileRowsOption = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Throw away what the folder holds.")
    ] = False,
    address: AddressOption = None,
    s3_endpoint: EndpointOption = None,
    workers: WorkerSettings = WorkerSettings(),
    model: ModelSettings = ModelSettings(),
    drafting: DraftSettings = DraftSettings(),
    seed: BatchSeedOption = 0,
    sampling: SamplerSettings = SamplerSettings(),
    as_json: JsonOption = False,
) -> None:
    """Make images of many prompts into Parquet; the same command again makes what is missing.

    Exits 0 when all images were made, 3 when some rows have an error instead, 1 when the run could
    not go on, 130 or 143 when it was stopped.
    """
    require_ray()
    from hawk.batch.job import Job
    from hawk.batch.progress import Meter
    from hawk.batch.run import run
    from hawk.prompts.columns import ColumnChoice

    job = Job(
        prompts=prompts,
        out=out,
        settings=JobSettings(
            model=model, drafting=drafting, sampling=sampling, seed=seed, workers=workers
        ),
        columns=ColumnChoice(prompt=prompt_column, id=id_column, keep=keep_columns),
        rows_per_file=rows_per_file,
        overwrite=overwrite,
        address=address,
        s3_endpoint=s3_endpoint,
    )
    with stoppable("; the same command goes on from here"), Meter(screen) as meter:
        summary = run(job, meter)
    _show(summary, as_json=as_json)
    if summary["failed"]:
        raise typer.Exit(SOME_FAILED)


def require_ray() -> None:
    """ValueError where Ray is not installed."""
    if find_spec("ray") is None or find_spec("pyarrow") is None:
        raise ValueError("batch jobs need Ray: pip install 'hawk-t2i[ray]'")


def _show(summary: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(summary))
        return
    typer.echo(
        f"{summary['images']} images and {summary['failed']} errors in {summary['files']} files: "
        f"{summary['out']}"
    )
    for kind, count in summary["errors"].items():
        typer.echo(f"  {count} rows failed with {kind}")
    if summary["seconds"]:
        typer.echo(
            f"this run: {summary['seconds']:.1f} s, {summary['images_per_second']:.2f} images/s"
        )
    typer.echo(f"{summary['tokens_per_forward']:.2f} tokens per forward with {summary['drafter']}")
    if summary["contact_sheet"]:
        typer.echo(f"pictures: {summary['contact_sheet']}")


@batch_app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
@command
def submit(
    context: typer.Context,
    prompts: PromptsArgument,
    out: OutArgument,
    address: DashboardOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run `hawk batch` on a Ray cluster; takes its options too. The same job twice runs once."""
    require_ray()
    from hawk.batch import submission

    options = context.args
    asked = get_group(batch_app).commands["batch"]
    given = asked.make_context("batch", [prompts, out, *options]).params  # exits 2 where wrong
    settings = JobSettings(
        model=changed(ModelSettings(), given),
        drafting=changed(DraftSettings(), given),
        sampling=changed(SamplerSettings(), given),
        workers=changed(WorkerSettings(), given),
    )
    submission.refuse(settings, rows_per_file=given["rows_per_file"])
    job = submission.submit(submission.client(address), prompts, out, options)
    if as_json:
        typer.echo(json.dumps(job))
    else:
        typer.echo(f"{job['id']} {'submitted' if job['submitted'] else 'is there already'}")
        typer.echo(f"follow it with: hawk jobs logs {job['id']} --follow")


@jobs_app.command("list")
@command
def list_jobs(address: DashboardOption = None, as_json: JsonOption = False) -> None:
    """Jobs of the cluster."""
    from hawk.batch import submission

    found = [
        submission.describe(job)
        for job in submission.client(address).list_jobs()
        if job.submission_id
    ]
    if as_json:
        typer.echo(json.dumps(found))
    else:
        for job in found:
            typer.echo(f"{job['id']}  {job['status']:9}  {job['command']}")


@jobs_app.command()
@command
def status(job: JobArgument, address: DashboardOption = None, as_json: JsonOption = False) -> None:
    """State of a job."""
    from hawk.batch import submission

    found = submission.describe(submission.client(address).get_job_info(job))
    typer.echo(json.dumps(found) if as_json else f"{found['status']}: {found['message']}")


@jobs_app.command()
@command
def logs(
    job: JobArgument,
    follow: Annotated[bool, typer.Option("--follow", help="Until it ends.")] = False,
    address: DashboardOption = None,
) -> None:
    """Output of a job so far."""
    from hawk.batch import submission

    for text in submission.logs(submission.client(address), job, follow=follow):
        typer.echo(text, nl=False)


@jobs_app.command()
@command
def stop(job: JobArgument, address: DashboardOption = None) -> None:
    """End a job; submitting it again goes on from there."""
    from hawk.batch import submission

    running = submission.client(address).stop_job(job)
    typer.echo("stopped" if running else "it has ended already")
