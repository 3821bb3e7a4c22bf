"""jacobi: its guesses are the target's laws at the nodes not accepted, under the noise to come."""

import torch

from hawk.budget import Budget
from hawk.drafters.base import Feedback
from hawk.drafters.guesses import Guesses
from hawk.drafters.jacobi import ABOVE_WEIGHTS, OWN_WEIGHTS, Jacobi
from hawk.drafters.pool import GUESSES, MOST_NODES, STEPS
from hawk.grid import Grid
from hawk.identity import Identity
from hawk.noise import gumbel
from hawk.sampler import Sampler, SamplerConfig
from hawk.tree import Shapes, Tree
from hawk.verifier import Commit

VOCABULARY = 50
CPU = torch.device("cpu")
IDS = torch.arange(VOCABULARY, dtype=torch.int32)
COUPLED = Guesses(by_chance=False)
GRID = Grid(height=20, width=20)
FREE = Budget([(1, 1.0)], MOST_NODES)


def new_jacobi(slots: int, grid: Grid = GRID, guesses: Guesses = COUPLED) -> Jacobi:
    identity = Identity(
        name="none", revision="0", grid=grid, vocabulary=VOCABULARY, hidden_size=1, drafters={}
    )
    return Jacobi(identity, slots=slots, budget=FREE, guesses=guesses, device=CPU)


def prompt_feedback(logits_BV: torch.Tensor, seeds: list[int]) -> Feedback:
    rows = len(logits_BV)
    zeros = torch.zeros(rows, dtype=torch.int64)
    law = Sampler([SamplerConfig()] * rows, VOCABULARY, CPU).law(logits_BV[:, None])
    first = torch.arange(rows)[:, None]
    return Feedback(
        tree=Tree(shapes=Shapes.chain(0, CPU), shape_B=zeros, tokens_BN=first),
        law=law,
        hidden_BND=torch.zeros(rows, 1, 1),
        commit=Commit(end_B=zeros, counts_B=zeros + 1, tokens_BD=first, path_BD=zeros[:, None]),
        seeds_B=torch.tensor(seeds),
        steps_B=zeros,
    )


def test_after_the_prompt_its_law_is_offered_under_the_noise_of_each_step() -> None:
    torch.manual_seed(0)
    logits = torch.randn(2, VOCABULARY)
    drafter = new_jacobi(slots=4)
    drafter.join(range(1, 3), prompt_feedback(logits, [5, 6]))
    drafter.move(1, 0)
    drafter.move(2, 1)
    tree = drafter.draft(torch.tensor([40, 41]), FREE)
    assert tree.tokens_BN[:, 0].tolist() == [40, 41]
    for row, seed in enumerate([5, 6]):
        for node in range(1, tree.tokens_BN.shape[1]):
            depth = int(tree.depths_BN[row, node])
            noise = gumbel(torch.tensor([seed]), torch.tensor([[depth]]), IDS)[0, 0]
            best = (logits[row] + noise).topk(GUESSES).indices
            assert tree.tokens_BN[row, node] in best


def test_laws_of_nodes_not_accepted_are_offered_at_their_own_step() -> None:
    """A chain of which nothing is accepted: the law of its node d is that of step d + 1."""
    torch.manual_seed(1)
    drafter = new_jacobi(slots=1)
    drafter.join(range(1), prompt_feedback(torch.randn(1, VOCABULARY), [9]))
    tree = drafter.draft(torch.tensor([3]), FREE)
    nodes = tree.tokens_BN.shape[1]
    logits = torch.randn(1, nodes, VOCABULARY)
    law = Sampler([SamplerConfig()], VOCABULARY, CPU).law(logits)
    zero = torch.zeros(1, dtype=torch.int64)
    picks = torch.full((1, 1), 7)
    commit = Commit(end_B=zero, counts_B=zero + 1, tokens_BD=picks, path_BD=zero[:, None])
    outcome = Feedback(
        tree=tree,
        law=law,
        hidden_BND=torch.zeros(1, nodes, 1),
        commit=commit,
        seeds_B=torch.tensor([9]),
        steps_B=zero + 10,
    )
    drafter.observe(outcome)
    after = drafter.draft(picks[0], FREE)
    # The trunk of a tree is numbered first: node d lies d steps below the root.
    noise = gumbel(torch.tensor([9]), torch.tensor([[11]]), IDS)[0, 0]
    assert after.tokens_BN[0, 1] == (logits[0, 1] + noise).argmax()
    assert STEPS >= int(after.depths_BN.max()) > 1


def test_below_the_first_row_the_law_of_the_cell_above_is_fused_in() -> None:
    """Width 2: when step 1 is committed, the guess of step 2 lies below step 0."""
    torch.manual_seed(2)
    drafter = new_jacobi(slots=1, grid=Grid(height=9, width=2))
    first = torch.randn(1, VOCABULARY)
    drafter.join(range(1), prompt_feedback(first, [9]))
    tree = drafter.draft(torch.tensor([3]), FREE)
    nodes = tree.tokens_BN.shape[1]
    logits = torch.randn(1, nodes, VOCABULARY)
    zero = torch.zeros(1, dtype=torch.int64)
    picks = torch.full((1, 1), 7)
    outcome = Feedback(
        tree=tree,
        law=Sampler([SamplerConfig()], VOCABULARY, CPU).law(logits),
        hidden_BND=torch.zeros(1, nodes, 1),
        commit=Commit(end_B=zero, counts_B=zero + 1, tokens_BD=picks, path_BD=zero[:, None]),
        seeds_B=torch.tensor([9]),
        steps_B=zero + 1,
    )
    drafter.observe(outcome)
    after = drafter.draft(picks[0], FREE)
    noise = gumbel(torch.tensor([9]), torch.tensor([[2]]), IDS)[0, 0]
    fused = OWN_WEIGHTS[0] * logits[0, 1] + ABOVE_WEIGHTS[0] * first[0]
    assert after.tokens_BN[0, 1] == (fused + noise).argmax()


def test_under_chance_rules_the_shape_does_not_depend_on_the_drafts() -> None:
    """Equal laws and other noise: other drafts, but in equal trees, and each with its law."""
    torch.manual_seed(3)
    logits = torch.randn(1, VOCABULARY).expand(64, -1)
    for by_chance, shapes in ((True, 1), (False, 2)):
        drafter = new_jacobi(slots=64, guesses=Guesses(by_chance=by_chance))
        drafter.join(range(64), prompt_feedback(logits, list(range(64))))
        tree = drafter.draft(torch.zeros(64, dtype=torch.int64), FREE)
        assert len(tree.tokens_BN[:, 1].unique()) > 10
        assert len(tree.shape_B.unique()) >= shapes
        assert (tree.drawn is not None) == by_chance
        if tree.drawn is not None:
            assert len(tree.shape_B.unique()) == 1
            torch.testing.assert_close(tree.drawn.scores_BLV[:, 0], logits)
            assert torch.equal(tree.drawn.which_BN, (tree.depths_BN - 1).clamp(min=0))
