"""Measurement: the same images by every contender in turn.

Contenders take turns after every batch, so that a drift of the machine's speed falls on all of
them; a speed-up is the median over batches of the ratio of two neighbouring times. Tokens per
forward tell what a drafter saves, seconds tell what is left of it after its own cost.
"""

import gc
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from hawk.bench.contenders import Contender, Method, Ours, Transformers
from hawk.bench.peak_memory import PeakMemory
from hawk.decoding.request import Request
from hawk.decoding.stats import Stats
from hawk.decoding.target import Target
from hawk.pictures import Picture, Result


@dataclass(frozen=True, kw_only=True)
class DraftingStats:
    """Statistics of one contender's drafts.

    Attributes:
        exact: True where images have the law of the model.
        nodes_per_forward: Mean size of a tree, root included.
        identical_to_plain: Number of images with the tokens of plain decoding.
        passes_by_accepted: Number of passes of images that accepted 0, 1, 2, ... drafts.
        accepted_by_cell_T: Share of images whose token in a cell was an accepted draft.
        shares: Shares of the time in `draft`, `target`, `verify` and `rest`.
        cost_ms: Milliseconds of a pass by its number of nodes, by the budget at the end.
    """

    exact: bool
    nodes_per_forward: float
    identical_to_plain: int
    passes_by_accepted: list[int]
    accepted_by_cell_T: list[float]
    shares: dict[str, float]
    cost_ms: dict[int, float]


@dataclass(frozen=True, kw_only=True)
class BenchRow:
    """One contender at one batch size.

    Attributes:
        drafter, rule, nodes: Attributes of the `Contender`.
        batch: Number of images in flight.
        images: Number of images that it made.
        tokens_per_forward: Mean tokens of a forward, the extra token included.
        seconds_per_image: Seconds of an image, median over batches.
        speedup_over_plain: Median over batches of the ratio of plain decoding's time to its own.
        speedup_over_transformers: The same ratio with the time of transformers; None where it did
            not take part.
        peak_memory_mb: Peak memory of the process, or of the GPU, while it alone was loaded; None
            where the system does not tell.
        drafting: Statistics of its drafts; None for transformers.
    """

    drafter: str
    rule: str | None
    nodes: int | None
    batch: int
    images: int
    tokens_per_forward: float
    seconds_per_image: float
    speedup_over_plain: float
    speedup_over_transformers: float | None
    peak_memory_mb: int | None
    drafting: DraftingStats | None


@dataclass(kw_only=True)
class ContenderRuns:
    """Batches that a contender has made so far.

    Attributes:
        contender: The contender.
        batch: Number of images in flight.
        peak_mb: Peak memory in megabytes.
        seconds: Seconds of each batch.
        results: Result of each batch; empty where it returns none.
    """

    contender: Contender
    batch: int
    peak_mb: int | None
    seconds: list[float]
    results: list[Result]

    @property
    def pictures(self) -> list[Picture]:
        return [picture for result in self.results for picture in result.pictures]


def measure(
    target: Target,
    methods: Sequence[Method],
    requests: Sequence[Request],
    *,
    batch: int,
    transformers: bool,
    each: Callable[[int], object] = lambda _: None,
) -> list[ContenderRuns]:
    """Let every method make the images in turn, and transformers if it takes part.

    Args:
        target: Model that all methods share.
        methods: Methods; the others are compared with the first.
        requests: Images to make; the last batch is filled up from the first ones.
        batch: Number of images in flight.
        transformers: True where the `generate` of transformers takes part.
        each: Called with the number of images after every batch of a contender.
    """
    batches = list(batched(requests, batch))
    guided = any(request.guidance != 1 for request in requests)
    makers: list[Callable[[], Contender]] = [
        partial(Ours, target, method, batch=batch) for method in methods
    ]
    if transformers:
        theirs = Transformers(target)
        makers.append(lambda: theirs)
    peaks = [_peak_memory(new(), batches[0], target, guided=guided) for new in makers]
    turns = [
        ContenderRuns(contender=new(), batch=batch, peak_mb=peak, seconds=[], results=[])
        for new, peak in zip(makers, peaks, strict=True)
    ]
    for turn in turns:
        turn.contender.prepare(guided=guided)
    for part in batches:
        for turn in turns:
            started = time.perf_counter()
            result = turn.contender.make(part)
            turn.seconds.append(time.perf_counter() - started)
            if result is not None:
                turn.results.append(result)
            each(len(part))
    return turns


def rows(turns: Sequence[ContenderRuns]) -> list[BenchRow]:
    """Rows of the contenders at one batch size; the others are compared with the first."""
    return [_row(turn, turns) for turn in turns]


def batched(requests: Sequence[Request], batch: int) -> Iterator[list[Request]]:
    """Full batches; the last one takes requests from the beginning again."""
    for first in range(0, len(requests), batch):
        yield [requests[place % len(requests)] for place in range(first, first + batch)]


def _peak_memory(
    contender: Contender, requests: Sequence[Request], target: Target, *, guided: bool
) -> int | None:
    """Peak megabytes of making one batch, which warms up, too."""
    memory = PeakMemory(target.device)
    gc.collect()
    memory.reset()
    contender.prepare(guided=guided)
    contender.make(requests)
    return memory.megabytes()


def _row(turn: ContenderRuns, turns: Sequence[ContenderRuns]) -> BenchRow:
    contender, batch = turn.contender, turn.batch
    plain, last = turns[0], turns[-1]
    against = last.seconds if last.contender.rule is None else None
    total = _total(turn.results)
    return BenchRow(
        drafter=contender.drafter,
        rule=contender.rule,
        nodes=contender.nodes,
        batch=batch,
        images=batch * len(turn.seconds),
        tokens_per_forward=total.tokens_per_forward if turn.results else 1.0,
        seconds_per_image=statistics.median(turn.seconds) / batch,
        speedup_over_plain=_speedup(plain.seconds, turn.seconds),
        speedup_over_transformers=None if against is None else _speedup(against, turn.seconds),
        peak_memory_mb=turn.peak_mb,
        drafting=_drafting(turn, plain) if isinstance(contender, Ours) else None,
    )


def _speedup(others: Sequence[float], own: Sequence[float]) -> float:
    return statistics.median(a / b for a, b in zip(others, own, strict=True))


def _total(results: Sequence[Result]) -> Stats:
    total = Stats()
    for result in results:
        total += result.stats
    return total


def _drafting(turn: ContenderRuns, plain: ContenderRuns) -> DraftingStats:
    assert isinstance(turn.contender, Ours)
    total, seconds = _total(turn.results), sum(turn.seconds)
    shares = {
        "draft": total.draft_s / seconds,
        "target": total.forward_s / seconds,
        "verify": total.verify_s / seconds,
    }
    commits = [picture.commits for picture in turn.pictures]
    return DraftingStats(
        exact=turn.results[0].exact,
        nodes_per_forward=total.nodes_per_forward,
        identical_to_plain=sum(
            own.tokens == other.tokens
            for own, other in zip(turn.pictures, plain.pictures, strict=True)
        ),
        passes_by_accepted=passes_by_accepted(commits),
        accepted_by_cell_T=accepted_by_cell(commits),
        shares=shares | {"rest": 1 - sum(shares.values())},
        cost_ms=turn.contender.session.budget.curve_ms,
    )


def passes_by_accepted(commits: Sequence[Sequence[int]]) -> list[int]:
    """Number of passes that accepted 0, 1, 2, ... drafts, without those of prompts.

    Args:
        commits: `Picture.commits` of each image.
    """
    accepted = [count - 1 for image in commits for count in image[1:]]
    return [accepted.count(number) for number in range(max(accepted, default=0) + 1)]


def accepted_by_cell(commits: Sequence[Sequence[int]]) -> list[float]:
    """Share of images whose token in a cell was an accepted draft, in raster order."""
    drafted = [
        [place < count - 1 for count in image for place in range(count)] for image in commits
    ]
    return [sum(cell) / len(drafted) for cell in zip(*drafted, strict=True)]
