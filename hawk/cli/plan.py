"""`hawk plan`: what a batch job takes, before it is begun. All else is in `hawk/planning/`."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from hawk.batch.job_settings import WorkerSettings
from hawk.cli.batch import require_ray
from hawk.cli.command import Omit, command
from hawk.cli.options import JsonOption
from hawk.settings import DraftSettings

ImagesOption = Annotated[int, typer.Option(help="Number of images in all.")]
ModelOption = Annotated[
    str, typer.Option(help="Name of the model in `hawk models`: janus-pro-7b, ...")
]
DeadlineOption = Annotated[str, typer.Option(help="Time from submission to the end: 90m, 24h, 2d.")]
RateOption = Annotated[float | None, typer.Option(help="Images a second of one worker.")]
BenchOption = Annotated[
    Path | None, typer.Option(help="Output of `hawk bench --json` on such a GPU.")
]
StartOption = Annotated[
    str, typer.Option(help="Time until a node is there and its model is loaded.")
]
ClusterOption = Annotated[
    Path | None, typer.Option(help="Cluster to check: YAML for `ray up`, or a KubeRay manifest.")
]


@command
def plan(
    images: ImagesOption,
    model: ModelOption,
    deadline: DeadlineOption,
    rate: RateOption = None,
    bench: BenchOption = None,
    start: StartOption = "10m",
    cluster: ClusterOption = None,
    workers: Annotated[WorkerSettings, Omit("workers", "start_timeout")] = WorkerSettings(
        cpus_per_worker=4.0, gpus_per_worker=1.0
    ),
    drafting: Annotated[DraftSettings, Omit("drafter", "rule")] = DraftSettings(),
    as_json: JsonOption = False,
) -> None:
    """Workers, GPU hours, storage and S3 requests of a batch job; nothing is started.

    Exits 1 where the cluster cannot grow to the workers that make the deadline.
    """
    require_ray()
    from hawk.planning.estimate import Load, estimate, parse_duration, with_workers
    from hawk.planning.growth import growth
    from hawk.planning.speed import Speed, measured
    from hawk.targets.catalogue import find

    if rate is not None and bench is None:
        speed = Speed(rate=rate, source="given")
    elif bench is not None and rate is None:
        speed = measured(bench)
    else:
        raise ValueError(
            "give one of --rate and --bench: `hawk bench --json` measures a worker's speed"
        )
    entry = find(model)
    height, width = entry.pixels
    bundles = workers.bundles(drafting)
    load = Load(
        images=images,
        width=width,
        height=height,
        rate=speed.rate,
        deadline_s=parse_duration(deadline),
        start_s=parse_duration(start),
        gpus_per_worker=sum(bundle.get("GPU", 0.0) for bundle in bundles),
    )
    made = estimate(load)
    report: dict[str, Any] = {
        "model": entry.checkpoint,
        "images": images,
        "images_per_second_per_worker": round(speed.rate, 4),
        "speed": speed.source,
        **made.report(),
    }
    fits = True
    if cluster is not None:
        placement = workers.placement(drafting)
        grown = growth(
            cluster,
            workers=made.workers,
            bundles=bundles,
            draft_accelerator=placement and placement.draft_accelerator,
        )
        fits = grown.workers == made.workers
        report |= {"nodes": grown.nodes, "workers_that_fit": grown.workers, "fits": fits}
        if not fits and grown.workers:
            report["hours_that_fit"] = round(with_workers(load, grown.workers).hours, 2)
    _show(report, cluster, deadline, as_json=as_json)
    if not fits:
        raise typer.Exit(1)


def _show(report: dict[str, Any], cluster: Path | None, deadline: str, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(report))
        return
    say = typer.echo
    say(f"{report['images']:,} images of {report['model']} in {deadline}")
    say(
        f"  speed     {report['images_per_second_per_worker']:g} images/s a worker "
        f"({report['speed']})"
    )
    say(
        f"  workers   {report['workers']:,} on {report['gpus']:,g} GPUs, "
        f"{report['hours']:g} hours, "
        f"{report['gpu_hours']:,g} GPU hours"
    )
    say(
        f"  storage   {report['storage_bytes'] / 1e9:,.1f} GB in {report['files']:,} files "
        f"of {report['rows_per_file']:,} rows"
    )
    say(
        f"  S3        {report['put_requests']:,} PUT, {report['get_requests']:,} GET, "
        f"{report['list_requests']:,} LIST"
    )
    if cluster is None:
        return
    nodes = ", ".join(f"{count} {kind}" for kind, count in report["nodes"].items()) or "no nodes"
    if report["fits"]:
        say(f"  cluster   {cluster} grows to {nodes}: enough")
    elif report["workers_that_fit"]:
        say(
            f"  cluster   {cluster} grows to {nodes}, with room for {report['workers_that_fit']} "
            f"workers: {report['hours_that_fit']:g} hours; raise its limits, or the deadline"
        )
    else:
        say(f"  cluster   {cluster} has no node type with room for a worker")
