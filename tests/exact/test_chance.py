"""What drafters must keep to under chance rules: no tree may depend on drafts it should not know.

When step T is decided, the tree's shape and the laws of its drafts up to T may depend on what is
decided and on drafts of earlier steps, not on drafts of T and later. So an image is made twice, the
second time with other noise for drafts from T on: up to the pass that decides T all must be equal.
"""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

from hawk import Pipeline, Session, noise
from hawk.budget import Budget
from hawk.drafters import DRAFTERS
from hawk.targets.janus import Janus
from hawk.tree import Tree


def trees_before(session: Session, step: int) -> list[tuple[int, Tree]]:
    """Root steps and trees of all passes that might decide `step`, of one image."""
    found: list[tuple[int, Tree]] = []
    draft: Any = session.drafter.draft

    def recorded(roots_B: Tensor, budget: Budget) -> Tree:
        tree = draft(roots_B, budget)
        root = int(session._counts_S[0]) - 1
        if root < step:
            found.append((root, copy.deepcopy(tree)))  # drafters write over their laws
        return tree

    session.drafter.draft = recorded
    list(session.run())
    return found


def new_session(target: Janus, drafter: str) -> Session:
    pipeline = Pipeline(target, drafter=drafter, rule="residual", slots=1)
    [request] = pipeline.requests("a red apple", seed=5, n=1, guidance=2.0, sampler=None)
    session = pipeline.session(guided=True)
    session.budget = Budget([(1, 1.0), (1000, 1.0)], session.drafter.most_nodes)  # no clocks here
    session.submit(request)
    return session


@pytest.mark.parametrize("step", [2, 7, 8, 15, 20])
@pytest.mark.parametrize("drafter", [name for name in DRAFTERS if name != "plain"])
def test_trees_do_not_depend_on_drafts_they_must_not_know(
    tiny: Janus, monkeypatch: pytest.MonkeyPatch, drafter: str, step: int
) -> None:
    ones = trees_before(new_session(tiny, drafter), step)
    bits = noise.bits

    def other_bits(seeds_B: Tensor, steps_BN: Tensor, ids: Tensor, stream: int = 0) -> Tensor:
        usual = bits(seeds_B, steps_BN, ids, stream)
        if stream < noise.DRAFTS:
            return usual
        return torch.where(
            steps_BN[..., None] < step, usual, bits(seeds_B + 1, steps_BN, ids, stream)
        )

    monkeypatch.setattr(noise, "bits", other_bits)
    others = trees_before(new_session(tiny, drafter), step)
    assert [root for root, _ in ones] == [root for root, _ in others]
    changed = 0
    for (root, one), (_, other) in zip(ones, others, strict=True):
        assert torch.equal(one.parents_BN, other.parents_BN)
        assert one.drawn is not None
        assert other.drawn is not None
        at_BN = root + one.depths_BN
        changed += int(((one.tokens_BN != other.tokens_BN) & (at_BN >= step)).sum())
        assert torch.equal(one.tokens_BN[at_BN < step], other.tokens_BN[at_BN < step])
        laws = [
            tree.drawn.scores_BLV[0, tree.drawn.which_BN[0]][at_BN[0] <= step]
            for tree in (one, other)
            if tree.drawn is not None
        ]
        assert torch.equal(*laws)
    assert changed  # else nothing was tested
