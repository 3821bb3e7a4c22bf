"""Session: what happens around the loop; its tokens are the business of tests/exact."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from hawk import Request, Session
from hawk.decoding.graphs import Graphs
from hawk.decoding.target import Output
from hawk.targets.janus import Janus
from tests.tiny import new_session, tokens_of


def request(seed: int = 0, guidance: float = 2.0) -> Request:
    return Request(prompt="a", seed=seed, guidance=guidance)


def test_nothing_to_do_is_no_work(tiny: Janus) -> None:
    session = new_session(tiny)
    assert not session.busy
    assert session.step() == []
    assert session.stats.passes == 0


def heard_by(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> list[tuple[int, int, int, float]]:
    """What the budget is told: rows, nodes, tokens and seconds of steps."""
    heard: list[tuple[int, int, int, float]] = []
    monkeypatch.setattr(session.budget, "observe", lambda *step: heard.append(step))
    return heard


def test_the_budget_hears_of_whole_steps_without_prompts(
    tiny: Janus, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = new_session(tiny, slots=2)
    heard = heard_by(session, monkeypatch)
    tickets = [session.submit(request(seed)) for seed in range(2)]
    session.admit()
    before = replace(session.stats)
    assert before.forward_s > 0
    assert not heard
    session.step()
    step = session.stats - before
    [(rows, nodes, tokens, seconds)] = heard
    assert (rows, nodes, tokens) == (len(tickets), step.nodes_per_forward, step.tokens)
    assert seconds == pytest.approx(step.draft_s + step.forward_s + step.verify_s)


def test_the_budget_hears_of_no_pass_that_was_captured(
    tiny: Janus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such a step takes much longer than those that it stands for."""
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: (0, 0))
    session = new_session(tiny, "plain", slots=1)
    graphs = session._cache.graphs = Graphs()
    monkeypatch.setattr(graphs, "run", lambda compute, inputs, _size: compute(*inputs))
    heard = heard_by(session, monkeypatch)
    session.submit(request(1))
    session.step()
    assert not heard
    graphs.replayed = True
    session.step()
    assert heard


def test_cancelling_frees_the_slot_at_once(tiny: Janus) -> None:
    session = new_session(tiny, slots=1)
    first, second = session.submit(request(1)), session.submit(request(2))
    session.step()
    assert session.cancel(first)
    assert not session.cancel(first)
    assert [finished.ticket for finished in session.run()] == [second]


def test_cancelling_a_waiting_image_leaves_the_rest(tiny: Janus) -> None:
    session = new_session(tiny, slots=1)
    tickets = [session.submit(request(seed)) for seed in range(3)]
    assert session.cancel(tickets[1])
    assert [finished.ticket for finished in session.run()] == [tickets[0], tickets[2]]
    assert not session.cancel(tickets[2])


def test_guidance_needs_a_guided_session(tiny: Janus) -> None:
    with pytest.raises(ValueError, match="without guidance"):
        new_session(tiny, guided=False).submit(request(guidance=2.0))


class Poison:
    """A target whose logits of one row are no numbers in the second pass, at some node.

    Args:
        node: which node of each tree, counted from the end for those that no path reaches.
        value: what its logits are.
    """

    def __init__(self, target: Janus, row: int, node: int, value: float) -> None:
        self._forward, self._row, self._node, self._value = target.forward, row, node, value
        self.passes = 0

    def __call__(self, *arguments: Any) -> Output:
        output = self._forward(*arguments)
        self.passes += 1
        if self.passes == 2 and len(output.logits_BNV) > self._row:
            output.logits_BNV[self._row, self._node] = self._value
        return output


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("ahead", [False, True])
def test_broken_logits_end_one_image_and_no_other(
    tiny: Janus, monkeypatch: pytest.MonkeyPatch, value: float, ahead: bool
) -> None:
    asked = [request(seed) for seed in range(4)]
    wanted = tokens_of(new_session(tiny, "plain"), asked)
    monkeypatch.setattr(tiny, "forward", Poison(tiny, row=0, node=0, value=value))
    session = new_session(tiny, slots=2, ahead=ahead)
    for one in asked:
        session.submit(one)
    ended = sorted(session.run(), key=lambda image: image.ticket)
    assert [image.error is None for image in ended] == [False, True, True, True]
    assert "not numbers" in str(ended[0].error)
    assert len(ended[0].tokens_T) == 0
    assert [image.tokens_T.tolist() for image in ended[1:]] == wanted[1:]


def test_broken_logits_at_a_draft_that_no_path_reaches_harm_nobody(
    tiny: Janus, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = [request(seed) for seed in range(3)]
    wanted = tokens_of(new_session(tiny, "plain"), asked)
    poison = Poison(tiny, row=0, node=-1, value=torch.nan)
    monkeypatch.setattr(tiny, "forward", poison)
    assert tokens_of(new_session(tiny), asked) == wanted
    assert poison.passes > 3


def test_a_slot_is_clean_after_a_broken_image(tiny: Janus, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys and values that are no numbers would count even where they are masked."""
    asked = [request(seed) for seed in range(3)]
    wanted = tokens_of(new_session(tiny, "plain"), asked)
    session = new_session(tiny, slots=1)
    embed, calls = tiny.embed_image, 0

    def broken(tokens_BN: torch.Tensor) -> torch.Tensor:
        nonlocal calls
        calls += 1
        return embed(tokens_BN) * (torch.nan if calls == 2 else 1)

    monkeypatch.setattr(tiny, "embed_image", broken)
    for one in asked:
        session.submit(one)
    ended = sorted(session.run(), key=lambda image: image.ticket)
    assert [image.error is None for image in ended] == [False, True, True]
    assert [image.tokens_T.tolist() for image in ended[1:]] == wanted[1:]


def test_a_prompt_whose_logits_are_broken_is_an_error_of_its_own(
    tiny: Janus, monkeypatch: pytest.MonkeyPatch
) -> None:
    prefill = tiny.prefill

    def broken(*arguments: Any) -> Output:
        output = prefill(*arguments)
        if len(output.logits_BNV) == 2:
            output.logits_BNV[0] = torch.inf
        return output

    asked = [request(seed) for seed in range(3)]
    wanted = tokens_of(new_session(tiny, "plain"), asked)
    monkeypatch.setattr(tiny, "prefill", broken)
    session = new_session(tiny, slots=2)
    for one in asked:
        session.submit(one)
    ended = sorted(session.run(), key=lambda image: image.ticket)
    assert [image.error is None for image in ended] == [False, True, True]
    assert [image.tokens_T.tolist() for image in ended[1:]] == wanted[1:]


def test_progress_is_what_the_image_will_begin_with(tiny: Janus) -> None:
    session = new_session(tiny, slots=1)
    first, second = session.submit(request(1)), session.submit(request(2))
    assert session.progress(first) is None
    finished = session.step()
    seen = []
    while not finished:
        now = session.progress(first)
        assert now is not None
        assert sum(now.commits) == len(now.tokens_T)
        seen.append(now)
        finished = session.step()
    assert session.progress(first) is None
    assert session.progress(second) is None  # it waits for the slot until the next step
    assert len(seen) > 1
    for now in seen:
        assert now.tokens_T.equal(finished[0].tokens_T[: len(now.tokens_T)])
        assert now.commits == finished[0].commits[: len(now.commits)]
    assert sum(finished[0].commits) == tiny.grid.cells
    assert len(finished[0].commits) == finished[0].stats.forwards


def test_slots_in_use_are_counted(tiny: Janus) -> None:
    session = new_session(tiny, slots=2)
    tickets = [session.submit(request(seed)) for seed in range(3)]
    assert session.active == 0
    session.step()
    assert session.active == 2
    session.cancel(tickets[0])
    assert session.active == 1
