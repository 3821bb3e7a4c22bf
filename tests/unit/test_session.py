"""Session: what happens around the loop; its tokens are the business of tests/exact."""

from dataclasses import replace

import pytest
import torch

from hawk import Request
from hawk.graphs import Graphs
from hawk.targets.base import Output
from hawk.targets.janus import Janus
from tests.tiny import new_session


def request(seed: int = 0, guidance: float = 2.0) -> Request:
    return Request(prompt="a", seed=seed, guidance=guidance)


def test_nothing_to_do_is_no_work(tiny: Janus) -> None:
    session = new_session(tiny)
    assert not session.busy
    assert session.step() == []
    assert session.stats.passes == 0


def test_the_budget_hears_of_whole_steps_without_prompts(tiny: Janus) -> None:
    session = new_session(tiny, slots=2)
    tickets = [session.submit(request(seed)) for seed in range(2)]
    session.admit()
    before = replace(session.stats)
    assert before.forward_s > 0
    session.step()
    step = session.stats - before
    assert session.budget.last is not None
    rows, nodes, seconds = session.budget.last
    assert (rows, nodes) == (len(tickets), step.nodes_per_forward)
    assert seconds == pytest.approx(step.draft_s + step.forward_s + step.verify_s)


def test_the_budget_hears_of_no_pass_that_was_captured(
    tiny: Janus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such a step takes much longer than those that it stands for."""
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: (0, 0))
    session = new_session(tiny, "plain", slots=1)
    graphs = session._cache.graphs = Graphs()
    monkeypatch.setattr(graphs, "run", lambda compute, inputs, _size: compute(*inputs))
    session.submit(request(1))
    session.step()
    assert session.budget.last is None
    graphs.replayed = True
    session.step()
    assert session.budget.last is not None


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


def test_broken_logits_are_an_error_not_an_image(
    tiny: Janus, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = tiny.forward

    def broken(*arguments: object) -> Output:
        output = forward(*arguments)  # pyright: ignore[reportArgumentType]
        return Output(
            logits_BNV=torch.full_like(output.logits_BNV, torch.nan),
            hidden_BND=output.hidden_BND,
        )

    monkeypatch.setattr(tiny, "forward", broken)
    session = new_session(tiny)
    session.submit(request())
    with pytest.raises(ArithmeticError, match="not numbers"):
        session.step()


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
