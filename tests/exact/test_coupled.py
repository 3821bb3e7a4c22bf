"""The coupled rule is exact: whatever drafts, the tokens are those of plain decoding."""

import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch

from hawk import Request, SamplerConfig, Session
from hawk.decoding.budget import Budget
from hawk.decoding.drafter import Drafter, Feedback, FeedbackFields
from hawk.decoding.rules import Coupled
from hawk.decoding.tree import Shapes, Tree
from hawk.drafters import DRAFTERS
from hawk.targets.janus import Janus
from tests import reference
from tests.tiny import new_session

SAMPLERS = {
    "full": SamplerConfig(),
    "top-k": SamplerConfig(temperature=0.7, top_k=10),
    "top-p": SamplerConfig(top_p=0.8),
    "top-k-p": SamplerConfig(temperature=1.3, top_k=20, top_p=0.9),
    "greedy": SamplerConfig(temperature=0.0),
}
PROMPTS = (
    "a red apple",
    "a green tree, 3d style, and more",
    "x",
    "the flag of Norway",
    "Ünïcode 🙂",
)


def requests(guidance: float, sampler: SamplerConfig) -> list[Request]:
    return [
        Request(prompt=prompt, seed=place * 2**40 + 7, guidance=guidance, sampler=sampler)
        for place, prompt in enumerate(PROMPTS)
    ]


def oracle(target: Janus, request: Request) -> list[int]:
    ids = target.encode(request.prompt)[0]
    prompts = [ids]
    if request.guidance != 1:
        prompts.append(reference.unconditional(ids, bos=0, boi=2, pad=1))
    pick = reference.coupled_pick(request.seed, request.sampler)
    return reference.plain_decoding(
        target.model, prompts, target.grid.cells, request.guidance, pick
    )


Oracle = Callable[[Request], list[int]]


@pytest.fixture(scope="module")
def expected(tiny: Janus) -> Oracle:
    """Tokens of plain decoding, made when they are first asked for."""
    return functools.cache(functools.partial(oracle, tiny))


def tokens_of(session: Session, asked: Sequence[Request]) -> list[list[int]]:
    tickets = [session.submit(request) for request in asked]
    finished = {image.ticket: image.tokens_T.tolist() for image in session.run()}
    return [finished[ticket] for ticket in tickets]


CASES = {  # of slots: guidance, sampler
    3: [(guidance, sampler) for sampler in SAMPLERS for guidance in (1.0, 5.0)],
    1: [(1.0, "full"), (5.0, "full")],
    8: [(5.0, "full"), (1.0, "full")],
}


def cases() -> Iterator[Any]:
    """All for every drafter, of which one a number of slots is for the quick run: with guidance and
    without in turn. (Each drafter meets all samplers where mixed settings share a batch.)"""
    for turn, drafter in enumerate(DRAFTERS):
        for slots, settings in CASES.items():
            for number, (guidance, sampler) in enumerate(settings):
                quick = number == turn % 2
                yield pytest.param(
                    drafter, slots, guidance, sampler, marks=() if quick else pytest.mark.slow
                )


@pytest.mark.parametrize(("drafter", "slots", "guidance", "sampler"), list(cases()))
def test_every_drafter_gives_the_tokens_of_plain_decoding(
    tiny: Janus,
    expected: Oracle,
    drafter: str,
    slots: int,
    guidance: float,
    sampler: str,
) -> None:
    session = new_session(tiny, drafter, slots, guided=guidance != 1)
    asked = requests(guidance, SAMPLERS[sampler])
    assert tokens_of(session, asked) == [*map(expected, asked)]
    if drafter != "plain":
        assert session.stats.accepted > 0  # else nothing was tested


@pytest.mark.parametrize("drafter", DRAFTERS)
def test_trees_that_grow_and_shrink_give_the_tokens_of_plain_decoding(
    tiny: Janus,
    expected: Oracle,
    drafter: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """How far ahead is guessed follows the size of trees; images join at every size."""
    session = new_session(tiny, drafter, 3, guided=True)
    sizes = itertools.cycle([1, 2, 4, 12, 32, 6, 1, 24, 3])
    monkeypatch.setattr(session.budget, "choose", lambda *_: next(sizes))
    asked = requests(5.0, SAMPLERS["top-p"])
    assert tokens_of(session, asked) == [*map(expected, asked)]
    if drafter != "plain":
        assert 1 < session.stats.nodes_per_forward < 16


@pytest.mark.parametrize("drafter", DRAFTERS)
def test_mixed_settings_share_a_batch(tiny: Janus, expected: Oracle, drafter: str) -> None:
    settings = itertools.product((1.0, 5.0), SAMPLERS.values())
    asked = [
        requests(guidance, sampler)[place % len(PROMPTS)]
        for place, (guidance, sampler) in enumerate(settings)
    ]
    session = new_session(tiny, drafter, 4, guided=True)
    assert tokens_of(session, asked) == [*map(expected, asked)]


@pytest.mark.parametrize("ahead", [False, True])
@pytest.mark.parametrize("drafter", DRAFTERS)
def test_images_join_late_and_leave_early(
    tiny: Janus, expected: Oracle, drafter: str, ahead: bool
) -> None:
    asked = requests(5.0, SAMPLERS["full"])
    session = new_session(tiny, drafter, 3, guided=True, ahead=ahead)
    finished: dict[int, list[int]] = {}
    tickets: list[int] = []
    cancelled = session.submit(replace(asked[0], seed=1))
    for request in asked:
        tickets.append(session.submit(request))
        for _ in range(4):
            finished |= {image.ticket: image.tokens_T.tolist() for image in session.step()}
    assert session.cancel(cancelled) or cancelled in finished
    finished |= {image.ticket: image.tokens_T.tolist() for image in session.run()}
    assert [finished[ticket] for ticket in tickets] == [*map(expected, asked)]
    assert not session.busy


class Scripted:
    """Drafts whatever a test wants: trees of random shape whose tokens are right at random.

    Right tokens are copied from the known image, siblings are repeated on purpose.
    """

    name = "scripted"
    most_nodes = 10
    feedback_fields = FeedbackFields()

    def __init__(self, images: list[list[int]], right: float) -> None:
        self._images = torch.tensor(images)
        self._right = right
        self._generator = torch.Generator().manual_seed(0)
        self._next_S = torch.zeros(len(images), dtype=torch.int64)

    def draft(self, roots_B: torch.Tensor, nodes: int) -> Tree:
        rows = len(roots_B)
        nodes = int(torch.randint(1, nodes + 1, (), generator=self._generator))
        parents = [
            [0, *(int(torch.randint(0, n, (), generator=self._generator)) for n in range(1, nodes))]
            for _ in range(3)
        ]
        shapes = Shapes(parents, roots_B.device)
        shape_B = torch.randint(0, 3, (rows,), generator=self._generator)
        step_BN = self._next_S[:rows, None] + shapes.depths_ZN[shape_B]
        known = self._images[:rows].gather(1, step_BN.clamp(max=self._images.shape[1] - 1))
        wrong = torch.randint(0, 64, known.shape, generator=self._generator)
        right = torch.rand(known.shape, generator=self._generator) < self._right
        tokens = torch.where(right, known, wrong)
        tokens[:, 0] = roots_B
        return Tree(shapes=shapes, shape_B=shape_B, tokens_BN=tokens)

    def join(self, slots: range, feedback: Feedback) -> None:
        self._next_S[slots.start : slots.stop] = 0

    def move(self, source: int, target: int) -> None:
        self._next_S[target] = self._next_S[source]
        self._images[target] = self._images[source]

    def observe(self, feedback: Feedback) -> None:
        self._next_S[: len(feedback.steps_B)] = feedback.steps_B


class Stubborn:
    """Drafts a full tree of the same token in every place: one, or one that does not exist."""

    name = "stubborn"
    most_nodes = 8
    feedback_fields = FeedbackFields()

    def __init__(self, token: int) -> None:
        self._token = token

    def draft(self, roots_B: torch.Tensor, nodes: int) -> Tree:
        shapes = Shapes([[0, 0, 0, 1, 1, 2, 3, 6]], roots_B.device)
        tokens = torch.full((len(roots_B), 8), self._token)
        tokens[:, 0] = roots_B
        return Tree(shapes=shapes, shape_B=torch.zeros_like(roots_B), tokens_BN=tokens)

    def join(self, slots: range, feedback: Feedback) -> None: ...

    def move(self, source: int, target: int) -> None: ...

    def observe(self, feedback: Feedback) -> None: ...


def scripted_session(target: Janus, drafter: Drafter) -> Session:
    budget = Budget.fixed(10)
    return Session(target, drafter, Coupled(), budget=budget, slots=5, guided=True)


def test_a_constant_drafter_gives_the_tokens_of_plain_decoding(
    tiny: Janus, expected: Oracle
) -> None:
    asked = requests(5.0, SAMPLERS["full"])
    wanted = [*map(expected, asked)]
    frequent = torch.tensor(wanted).flatten().mode().values
    session = scripted_session(tiny, Stubborn(int(frequent)))
    assert tokens_of(session, asked) == wanted
    assert session.stats.accepted > 0


@pytest.mark.parametrize("token", [-1, 64, 2**40])
def test_tokens_outside_of_the_vocabulary_are_an_error(tiny: Janus, token: int) -> None:
    session = scripted_session(tiny, Stubborn(token))
    with pytest.raises(RuntimeError, match=r"stubborn proposed tokens outside of 0 \.\. 63"):
        tokens_of(session, requests(5.0, SAMPLERS["full"]))


@pytest.mark.parametrize("right", [0.0, 0.5, 0.9, 1.0])
def test_any_tree_at_all_gives_the_tokens_of_plain_decoding(
    tiny: Janus, expected: Oracle, right: float
) -> None:
    asked = requests(5.0, SAMPLERS["full"])
    wanted = [*map(expected, asked)]
    session = scripted_session(tiny, Scripted(wanted, right))
    assert tokens_of(session, asked) == wanted
    if right == 0.0:
        assert session.stats.tokens_per_forward < 1.2
    if right == 1.0:
        assert session.stats.tokens_per_forward > 2
