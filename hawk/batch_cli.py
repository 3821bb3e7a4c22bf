"""The commands of `hawk` that run batch jobs; they need Ray and say so where it is missing."""

import json
from importlib.util import find_spec
from typing import Annotated, Any

import typer

from hawk.options import (
    DebugOption,
    DeviceOption,
    DrafterOption,
    DtypeOption,
    GuidanceOption,
    JsonOption,
    ModelOption,
    RuleOption,
    SlotsOption,
    TemperatureOption,
    TopKOption,
    TopPOption,
    errors_reported,
    screen,
)

SOME_FAILED = 3

PromptsArgument = Annotated[
    str, typer.Argument(help="txt, csv, jsonl or parquet: a file, folder or glob; or s3://.")
]
OutArgument = Annotated[str, typer.Argument(help="Run folder, or s3://bucket/folder.")]
WorkersOption = Annotated[
    str, typer.Option(help="Processes with a model each: N, or MIN:MAX where a cluster can grow.")
]
CpusOption = Annotated[float, typer.Option(help="Of each worker.")]
GpusOption = Annotated[float, typer.Option(help="Of each worker; 0.5 puts two on one.")]
FileRowsOption = Annotated[
    int | None, typer.Option(help="Rows of a Parquet file.", show_default="about 128 MB of images")
]
BatchSeedOption = Annotated[int, typer.Option(help="Goes into seeds of rows that have none.")]
AddressOption = Annotated[
    str | None,
    typer.Option(help="Of a Ray cluster.", show_default="RAY_ADDRESS, else this machine"),
]
EndpointOption = Annotated[
    str | None,
    typer.Option(help="URL of an S3 other than Amazon's.", show_default="AWS_ENDPOINT_URL"),
]
StartOption = Annotated[float, typer.Option(help="Seconds to wait for workers to come up.")]


def batch(
    prompts: PromptsArgument,
    out: OutArgument,
    workers: WorkersOption = "1",
    cpus_per_worker: CpusOption = 1.0,
    gpus_per_worker: GpusOption = 0.0,
    rows_per_file: FileRowsOption = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Throw away what the folder holds.")
    ] = False,
    address: AddressOption = None,
    s3_endpoint: EndpointOption = None,
    start_timeout: StartOption = 600.0,
    model: ModelOption = "emoji",
    drafter: DrafterOption = "auto",
    rule: RuleOption = "coupled",
    slots: SlotsOption = 8,
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
    seed: BatchSeedOption = 0,
    guidance: GuidanceOption = None,
    temperature: TemperatureOption = None,
    top_k: TopKOption = None,
    top_p: TopPOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Make images of many prompts into Parquet; the same command again makes what is missing.

    Exits 0 when all images were made, 3 when some rows have an error instead, 1 when the run could
    not go on, 130 or 143 when it was stopped.
    """
    with errors_reported(debug=debug):
        _require_ray()
        from jobs.batch.progress import Meter
        from jobs.batch.run import Job, run
        from jobs.batch.settings import Making, Workers, parse_workers
        from jobs.batch.signals import Stopped, stoppable

        least, most = parse_workers(workers)
        job = Job(
            prompts=prompts,
            out=out,
            making=Making(
                model=model,
                drafter=drafter,
                rule=rule,
                dtype=dtype,
                seed=seed,
                guidance=guidance,
                temperature=temperature,
                top_k=top_k,
                top_p=top_p,
            ),
            workers=Workers(
                least=least,
                most=most,
                slots=slots,
                device=device,
                cpus=cpus_per_worker,
                gpus=gpus_per_worker,
                start_s=start_timeout,
            ),
            rows_per_file=rows_per_file,
            overwrite=overwrite,
            address=address,
            s3_endpoint=s3_endpoint,
        )
        try:
            with stoppable(), Meter(screen) as meter:
                summary = run(job, meter)
            code = SOME_FAILED if summary["failed"] else 0
        except Stopped as stopped:
            typer.echo(f"hawk: stopped by {stopped}; the same command goes on from here", err=True)
            summary, code = None, stopped.code
    if summary:
        _show(summary, as_json=as_json)
    if code:
        raise typer.Exit(code)


def _require_ray() -> None:
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
    typer.echo(f"pictures: {summary['contact_sheet']}")
