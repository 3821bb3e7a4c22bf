"""What drafters must keep to under chance rules: no tree may depend on drafts it should not know.

When step T is decided, the tree's shape and the laws of its drafts up to T may depend on what is
decided and on drafts of earlier steps, not on drafts of T and later. So an image is begun twice,
the second time with other noise for drafts from T on: up to the pass that decides T all must be
equal.
"""

import copy
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from hawk import Pipeline, Session
from hawk.decoding import noise
from hawk.decoding.budget import Budget
from hawk.decoding.tree import Tree
from hawk.drafters import DRAFTERS
from hawk.targets.janus import Janus

SEEDS = range(16)
QUICK = SEEDS[::3]  # steps from the first row to the last


def trees_before(target: Janus, drafter: str, seed: int, step: int) -> list[tuple[int, Tree]]:
    """Root steps and trees of the passes that might decide `step` of an image."""
    pipeline = Pipeline(target, drafter=drafter, rule="residual", slots=1)
    [request] = pipeline.requests("a red apple", seed=seed, n=1, guidance=2.0, sampler=None)
    session = pipeline.session(guided=True)
    assert isinstance(session, Session)
    # Costs without a clock: the same sizes of trees in every run.
    session.budget = Budget.fixed(session.drafter.most_nodes)
    made: list[Tree] = []
    draft = session.drafter.draft

    def watched(roots_B: Tensor, nodes: int) -> Tree:
        tree = draft(roots_B, nodes)
        made.append(copy.deepcopy(tree))  # drafters may write over their laws
        return tree

    session.drafter.draft = watched
    session.submit(request)
    roots = [0]
    while roots[-1] < step:
        session.step()
        roots.append(session.stats.tokens - 1)
    return list(zip(roots, made, strict=False))


def laws_up_to(step: int, root: int, tree: Tree) -> Tensor:
    assert tree.drawn is not None
    return tree.drawn.scores_BQV[0, tree.drawn.which_BN[0]][root + tree.depths_BN[0] <= step]


@pytest.mark.parametrize(
    "seeds",
    [
        pytest.param(QUICK, id="some"),
        pytest.param([s for s in SEEDS if s not in QUICK], id="others", marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("drafter", [name for name in DRAFTERS if name != "plain"])
def test_trees_do_not_depend_on_drafts_they_must_not_know(
    tiny: Janus, monkeypatch: pytest.MonkeyPatch, drafter: str, seeds: Sequence[int]
) -> None:
    bits, step = noise.bits, 0

    def other_bits(seeds_B: Tensor, steps_BN: Tensor, ids: Tensor, stream: int = 0) -> Tensor:
        usual = bits(seeds_B, steps_BN, ids, stream)
        if stream < noise.DRAFTS:
            return usual
        other = bits(seeds_B + 1, steps_BN, ids, stream)
        return torch.where(steps_BN[..., None] < step, usual, other)

    changed = 0
    for seed in seeds:
        step = 3 + 2 * seed
        usual = trees_before(tiny, drafter, seed, step)
        with monkeypatch.context() as patch:
            patch.setattr(noise, "bits", other_bits)
            others = trees_before(tiny, drafter, seed, step)
        assert [root for root, _ in usual] == [root for root, _ in others]
        for (root, one), (_, other) in zip(usual, others, strict=True):
            assert torch.equal(one.parents_BN, other.parents_BN)
            at_BN = root + one.depths_BN
            assert torch.equal(one.tokens_BN[at_BN < step], other.tokens_BN[at_BN < step])
            assert torch.equal(laws_up_to(step, root, one), laws_up_to(step, root, other))
            changed += int((one.tokens_BN != other.tokens_BN).sum())
    assert changed > len(seeds)  # else nothing was tested
