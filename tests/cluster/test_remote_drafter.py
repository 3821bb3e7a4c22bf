"""A drafter elsewhere, without Ray: whatever becomes of its drafts, the tokens are plain's."""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from hawk import Pipeline, Request, SamplerConfig
from hawk.cluster import remote_drafter
from hawk.cluster.draft_messages import Block
from hawk.cluster.lane_loop import LaneLoop
from hawk.cluster.remote_drafter import Timeouts
from hawk.cluster.remote_pipeline import RemotePipeline
from hawk.cluster.transport import DrafterLost
from hawk.drafters import DRAFTERS
from hawk.targets.janus import Janus
from tests.cluster.direct import Direct
from tests.tiny import VOCABULARY

PROMPTS = ("a red apple", "a green tree, 3d style, and more", "x", "the flag of Norway")
SAMPLERS = {
    "full": SamplerConfig(),
    "top-k": SamplerConfig(temperature=0.7, top_k=10),
    "top-p": SamplerConfig(top_p=0.8),
}


def requests(sampler: str = "full") -> list[Request]:
    return [
        Request(prompt=prompt, seed=place * 2**40 + 7, guidance=5.0, sampler=SAMPLERS[sampler])
        for place, prompt in enumerate(PROMPTS)
    ]


@pytest.fixture(scope="module")
def expected(tiny: Janus) -> dict[str, list[list[int]]]:
    plain = Pipeline(tiny, drafter="plain", rule="coupled", slots=4)
    return {
        name: [picture.tokens for picture in plain.run(requests(name)).pictures]
        for name in SAMPLERS
    }


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_drafter, "RETRY_S", 0.0)


def split(
    target: Janus, transport: Direct, *, drafter: str = "jacobi", slots: int = 4, lanes: int = 2
) -> LaneLoop:
    pipeline = RemotePipeline(
        target,
        drafter=drafter,
        rule="coupled",
        slots=slots,
        transport=transport,
        lanes=lanes,
        timeouts=Timeouts(),
    )
    return pipeline.session(guided=True)


def tokens_of(lanes: LaneLoop, asked: list[Request]) -> list[list[int]]:
    tickets = [lanes.submit(request) for request in asked]
    finished = {image.ticket: image.tokens_T.tolist() for image in lanes.run()}
    return [finished[ticket] for ticket in tickets]


CASES = [(1, 1, "full"), (3, 2, "top-k"), (4, 2, "top-p")]  # slots, lanes, sampler


@pytest.mark.parametrize(
    ("drafter", "slots", "lanes", "sampler"),
    [(drafter, *CASES[turn % len(CASES)]) for turn, drafter in enumerate(DRAFTERS)],
)
def test_every_drafter_gives_the_tokens_of_plain_decoding(
    tiny: Janus,
    expected: dict[str, list[list[int]]],
    drafter: str,
    slots: int,
    lanes: int,
    sampler: str,
) -> None:
    made = split(tiny, Direct(), drafter=drafter, slots=slots, lanes=lanes)
    assert tokens_of(made, requests(sampler)) == expected[sampler]
    assert not made.faults
    if drafter != "plain":
        assert made.stats.drafted > 0


def lost(block: Any) -> Any:
    raise DrafterLost("killed")


def late(block: Any) -> Any:
    raise TimeoutError("hung")


def stale(block: Block) -> Block:
    return replace(block, sequence=block.sequence - 1)


def foreign(block: Block) -> Block:
    return replace(block, epoch=block.epoch + 1)


def garbage(block: Block) -> Block:
    return replace(block, tokens=np.full_like(block.tokens, VOCABULARY))


FAULTS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "lost": (lost, "lost"),
    "late": (late, "late"),
    "stale block": (stale, "refused"),
    "block of another epoch": (foreign, "refused"),
    "garbage": (garbage, "refused"),
    "nothing": (lambda _: None, "refused"),
    "something else": (lambda _: {"tokens": 1}, "refused"),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("every", [1, 3])
def test_a_fault_costs_rounds_never_images(
    tiny: Janus, expected: dict[str, list[list[int]]], fault: str, every: int
) -> None:
    spoil, reason = FAULTS[fault]
    transport = Direct(lambda call, block: spoil(block) if call % every == 0 else block)
    made = split(tiny, transport)
    assert tokens_of(made, requests()) == expected["full"]
    assert made.faults[reason] > 1
    assert transport.opened > 2  # once a lane at the start, then anew
    if reason == "late":
        assert transport.restarts > 1
    if every == 1:
        assert made.stats.accepted == 0
    else:
        assert made.stats.accepted > 0


def test_a_drafter_comes_back(tiny: Janus, expected: dict[str, list[list[int]]]) -> None:
    transport = Direct()
    made = split(tiny, transport)
    tickets = [made.submit(request) for request in requests()]
    finished: dict[int, list[int]] = {}
    drafted = 0
    for step in range(400):
        if step == 4:
            transport.kill()
        if step == 8:
            drafted = made.stats.drafted
            transport.restart()
        finished |= {image.ticket: image.tokens_T.tolist() for image in made.step()}
        if not made.busy:
            break
    assert [finished[ticket] for ticket in tickets] == expected["full"]
    assert made.faults["lost"] >= 2  # of both lanes
    assert made.faults["absent"] > 0
    assert made.stats.drafted > drafted


def test_one_that_stays_away_is_asked_ever_less_often(
    tiny: Janus, expected: dict[str, list[list[int]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote_drafter, "RETRY_S", 1000.0)
    transport = Direct()
    made = split(tiny, transport)
    transport.kill()
    started = time.monotonic()
    assert tokens_of(made, requests()) == expected["full"]
    assert time.monotonic() - started < 500
    assert transport.opened == 2  # at the start, and never again
    assert made.faults["lost"] == 2


@pytest.mark.parametrize("right", [True, False])
def test_images_go_on_from_tokens_they_had(
    tiny: Janus, expected: dict[str, list[list[int]]], right: bool
) -> None:
    made = split(tiny, Direct())
    tickets: list[int] = []
    for place, (request, tokens) in enumerate(zip(requests(), expected["full"], strict=True)):
        known = tokens[: 9 * place]
        if not right:
            known = [(token + 1) % VOCABULARY for token in known]
        tickets.append(made.submit(request, known=known))
    finished = {image.ticket: image for image in made.run()}
    assert [finished[ticket].tokens_T.tolist() for ticket in tickets] == expected["full"]
    if right:
        assert finished[tickets[3]].stats.forwards < 15  # 26 tokens came back in one pass


def test_images_leave_and_join_between_turns(
    tiny: Janus, expected: dict[str, list[list[int]]]
) -> None:
    made = split(tiny, Direct(), slots=3)
    asked = requests()
    doomed = [made.submit(replace(asked[0], seed=place)) for place in range(4)]
    finished: dict[int, list[int]] = {}
    tickets: list[int] = []
    for place, request in enumerate(asked):
        tickets.append(made.submit(request))
        for _ in range(5):
            finished |= {image.ticket: image.tokens_T.tolist() for image in made.step()}
        assert made.cancel(doomed[place]) or doomed[place] in finished
    finished |= {image.ticket: image.tokens_T.tolist() for image in made.run()}
    assert [finished[ticket] for ticket in tickets] == expected["full"]
    assert not made.faults["refused"]
    assert not made.cancel(tickets[0])
    assert made.progress(tickets[0]) is None


def test_the_drafter_hears_how_large_each_tree_is_to_be(tiny: Janus) -> None:
    """The sizes are chosen where passes are timed."""
    made = split(tiny, Direct(), slots=1, lanes=1)
    sizes = iter([1, 7, 3, 24, *[5] * 100])
    made.budget.choose = lambda rows, lacking: next(sizes)
    made.submit(requests()[0])
    made.step()  # lets the image in
    drafted: list[int] = []
    while made.busy and len(drafted) < 4:
        before = made.stats.drafted
        made.step()
        drafted.append(made.stats.drafted - before + 1)
    assert drafted == [1, 7, 3, 24]


def test_only_what_the_drafter_needs_is_sent(tiny: Janus) -> None:
    sizes: dict[str, float] = {}
    for drafter in ("plain", "local", "jacobi"):
        transport = Direct()
        tokens_of(split(tiny, transport, drafter=drafter), requests())
        sizes[drafter] = transport.bytes / transport.calls
    assert sizes["plain"] < sizes["local"] < sizes["jacobi"]
