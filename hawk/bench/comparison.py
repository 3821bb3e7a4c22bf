"""Comparison: a whole bench of drafters and rules, from a loaded model to its report."""

from collections.abc import Callable, Sequence

from hawk.bench.bench_report import BenchReport
from hawk.bench.contenders import Method
from hawk.bench.measure import measure, rows
from hawk.decoding.request import Request
from hawk.machine import machine, versions
from hawk.pipeline import Pipeline


def compare(
    pipeline: Pipeline,
    methods: Sequence[Method],
    requests: Sequence[Request],
    *,
    batches: Sequence[int] = (1,),
    transformers: bool = False,
    each: Callable[[int, int], object] = lambda _made, _of: None,
) -> BenchReport:
    """Let every method make the images, at one batch size after the other.

    Args:
        pipeline: Pipeline of any drafter, whose target all methods share.
        methods: Methods to compare, see `contenders.methods`.
        requests: Images to make, all with the same settings, see `contenders.plan`.
        batches: Numbers of images in flight.
        transformers: True where the `generate` of transformers takes part.
        each: Called first and after every batch, with the numbers of images made and to make.
    """
    target, first = pipeline.target, requests[0]
    contenders = len(methods) + transformers
    of = contenders * sum(-(-len(requests) // batch) * batch for batch in batches)
    made = 0

    def advance(images: int) -> None:
        nonlocal made
        made += images
        each(made, of)

    advance(0)
    measured = [
        measure(target, methods, requests, batch=batch, transformers=transformers, each=advance)
        for batch in batches
    ]
    return BenchReport(
        rows=[row for turns in measured for row in rows(turns)],
        settings={
            "model": target.name,
            "model_revision": target.identity.revision,
            "dtype": str(target.head_VX.dtype).removeprefix("torch."),
            "guidance": first.guidance,
            "temperature": first.sampler.temperature,
            "top_k": first.sampler.top_k,
            "top_p": first.sampler.top_p,
            "seed": first.seed,
            "deterministic": methods[0].deterministic,
        },
        machine=machine(target.device),
        versions=versions(),
        grid=target.grid,
    )
