"""jacobi: its drafts are the target's picks for the steps ahead, however stale their laws."""

import pytest
import torch

from hawk.decoding.drafter import DrafterConfig, Feedback
from hawk.decoding.grid import Grid, Identity
from hawk.decoding.noise import Noise
from hawk.decoding.rules import Coupled
from hawk.decoding.sampler import Sampler, SamplerConfig
from hawk.decoding.tree import Shapes, Tree
from hawk.decoding.verifier import verify
from hawk.drafters.jacobi import PICKS, RUNNERS_UP, Jacobi, Window

VOCABULARY = 50
CPU = torch.device("cpu")
GRID = Grid(height=20, width=20)
SEED = 9


def new_jacobi(slots: int = 1, *, by_chance: bool = False, branching: bool = True) -> Jacobi:
    identity = Identity(
        name="none", revision="0", grid=GRID, vocabulary=VOCABULARY, hidden_size=1, drafters={}
    )
    return Jacobi(
        DrafterConfig(
            identity=identity, slots=slots, by_chance=by_chance, branching=branching, device=CPU
        )
    )


def noise_at(steps_BX: torch.Tensor, seed: int = SEED) -> torch.Tensor:
    seeds_B = torch.full((len(steps_BX),), seed)
    return Noise.draw(seeds_B, steps_BX, torch.ones(1, 1, 1), VOCABULARY).tokens_BNV


def taught(tree: Tree, logits_BNV: torch.Tensor, root: int) -> Feedback:
    """What a pass over a tree behind the step `root` teaches."""
    law = Sampler([SamplerConfig()] * len(logits_BNV), VOCABULARY, CPU).law(logits_BNV)
    steps_BN = root + 1 + tree.depths_BN
    noise = Noise(
        seeds_B=torch.full((len(logits_BNV),), SEED),
        steps_BN=steps_BN,
        tokens_BNV=noise_at(steps_BN),
    )
    verdict = Coupled().judge(tree, law, noise)
    commit = verify(tree, verdict, torch.full((len(logits_BNV),), GRID.cells))
    return Feedback(
        tree=tree,
        law=law,
        picks_BN=verdict.extra_BN,
        hidden_BND=torch.zeros(*logits_BNV.shape[:2], 1),
        commit=commit,
        seeds_B=noise.seeds_B,
        steps_B=root + commit.counts_B,
        longest=int(commit.counts_B.max()),
        noise_at=noise_at,
    )


def root_of(tokens: list[int]) -> Tree:
    roots = torch.tensor(tokens)
    return Tree(
        shapes=Shapes.chain(0, CPU), shape_B=torch.zeros_like(roots), tokens_BN=roots[:, None]
    )


def pick(logits_V: torch.Tensor, step: int, rank: int = 0) -> int:
    return int((logits_V + noise_at(torch.tensor([[step]]))[0, 0]).topk(rank + 1).indices[rank])


def next_law(
    tree: Tree, logits_NV: torch.Tensor, window: Window, feedback: Feedback
) -> torch.Tensor:
    """The law of the step behind the last token, from all nodes as deep as that token is."""
    count = int(feedback.commit.counts_B[0])
    depth = min(count, window.length)
    nodes = [node for node, its in enumerate(window.depths_N.tolist()) if its == depth]
    last = int(feedback.commit.tokens_BL[0, count - 1])
    right = [node for node in nodes if int(tree.tokens_BN[0, node]) == last]
    return logits_NV[right or nodes].softmax(-1).mean(0).log()


def joined(drafter: Jacobi) -> tuple[torch.Tensor, Feedback]:
    """The law of the prompt, and what its pass taught: the token of step 0."""
    law = torch.randn(1, 1, VOCABULARY)
    feedback = taught(root_of([0]), law, root=-1)
    drafter.join(range(1), feedback)
    return law[0, 0], feedback


@pytest.mark.parametrize("nodes", [1, 2, 8, 24, 32, 64, 96])
def test_a_window_is_a_trunk_with_runners_up_in_front(nodes: int) -> None:
    window = Window(nodes, CPU, branching=True)
    assert window.shapes.nodes == nodes
    assert window.depths_N[: window.length + 1].tolist() == list(range(window.length + 1))
    beside = max(least for least in RUNNERS_UP if least <= nodes)
    assert nodes - 1 - window.length == sum(RUNNERS_UP[beside])
    if nodes > 1:
        assert window.shapes.children_ZNM[0, 0, 0] == 1  # the trunk is tested first
    assert Window(nodes, CPU, branching=False).length == nodes - 1


def test_after_the_prompt_its_law_stands_for_every_step() -> None:
    torch.manual_seed(0)
    drafter = new_jacobi()
    law_V, feedback = joined(drafter)
    tree = drafter.draft(feedback.commit.tokens_BL[:, 0], 12)
    assert tree.tokens_BN[0, 1:].tolist() == [pick(law_V, step) for step in range(1, 12)]


@pytest.mark.parametrize("nodes", [8, 32])
def test_drafts_are_the_picks_of_the_last_pass_for_their_steps(nodes: int) -> None:
    """Whatever was accepted: laws of the trunk where it has one for the step, its last one for
    steps behind; runners-up come from the same laws. But the next step, where there are runners-up,
    has the law behind the last token or the mean of those behind wrong ones."""
    torch.manual_seed(1)
    drafter = new_jacobi()
    _, feedback = joined(drafter)
    root, token = 0, feedback.commit.tokens_BL[:, 0]
    seen = set()
    for _ in range(60):
        tree = drafter.draft(token, nodes)
        window = Window(nodes, CPU, branching=True)
        logits = torch.randn(1, nodes, VOCABULARY) + 3 * torch.randn(VOCABULARY)
        # Laws that the next drafts are often right under.
        wanted = tree.tokens_BN[0, 1 : window.length + 1]
        hits = torch.rand(window.length) < 0.6
        logits[0, torch.arange(window.length)[hits], wanted[hits]] += 30
        feedback = taught(tree, logits, root)
        count = int(feedback.commit.counts_B[0])
        seen.add(count)
        root += count
        token = feedback.commit.tokens_BL[:, count - 1]
        drafter.observe(feedback)
        after = drafter.draft(token, nodes)
        for node in range(1, nodes):
            depth, rank = int(window.depths_N[node]), int(window.ranks_N[node])
            if nodes == 32 and depth == 1:
                law_V = next_law(tree, logits[0], window, feedback)
            else:
                law_V = logits[0, min(count - 1 + depth, window.length)]
            assert after.tokens_BN[0, node] == pick(law_V, root + depth, rank)
        if root > 200:
            break
    assert len(seen) > 2


def test_windows_may_change_their_size_between_passes() -> None:
    """What is there for a longer one is its last draft, until a pass mends it."""
    torch.manual_seed(2)
    drafter = new_jacobi()
    _, feedback = joined(drafter)
    token = feedback.commit.tokens_BL[:, 0]
    tree = drafter.draft(token, 4)
    logits = torch.randn(1, 4, VOCABULARY)
    feedback = taught(tree, logits, 0)
    drafter.observe(feedback)
    longer = drafter.draft(token, 9).tokens_BN[0]
    assert longer[4:].tolist() == [int(longer[3])] * 5
    drafter.observe(taught(drafter.draft(token, 1), logits[:, :1], 1))  # plain: nothing to learn
    assert torch.equal(drafter.draft(token, 4).tokens_BN[0, 1:], longer[1:4])


def test_images_move_with_their_drafts() -> None:
    torch.manual_seed(3)
    drafter = new_jacobi(slots=3)
    feedback = taught(root_of([0, 0]), torch.randn(2, 1, VOCABULARY), root=-1)
    drafter.join(range(1, 3), feedback)
    before = drafter.draft(torch.zeros(3, dtype=torch.int64), 9).tokens_BN
    drafter.move(2, 0)
    after = drafter.draft(torch.zeros(3, dtype=torch.int64), 9).tokens_BN
    assert torch.equal(after[0], before[2])
    assert not torch.equal(before[0], before[2])


def test_under_chance_rules_drafts_come_with_their_laws_and_noise_of_their_own() -> None:
    torch.manual_seed(4)
    drafter = new_jacobi(by_chance=True)
    law_V, feedback = joined(drafter)
    tree = drafter.draft(feedback.commit.tokens_BL[:, 0], 9)
    assert tree.drawn is not None
    torch.testing.assert_close(tree.drawn.scores_BQV, law_V.expand(1, 8, -1))
    assert torch.equal(tree.drawn.which_BN, (tree.depths_BN - 1).clamp(min=0))
    assert tree.tokens_BN[0, 1:].tolist() != [pick(law_V, step) for step in range(1, 9)]
    assert PICKS > 1
