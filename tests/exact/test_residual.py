"""The residual rule is exact in law: summed over all drafts of two sources, then with its noise.

A vocabulary of 4, the next two tokens drafted by a source that looks along the row and one that
looks down the column, in turn. The output law of three tokens is summed over every possible draft
and compared in float64 with the target's own.
"""

import itertools

import pytest
import torch
from torch import Tensor

from hawk.decoding.noise import Noise
from hawk.decoding.rules import Residual, residual
from hawk.decoding.sampler import Law, Sampler, SamplerConfig
from hawk.decoding.tree import Drawn, Shapes, Tree
from hawk.decoding.verifier import verify
from hawk.drafters.draft_sampler import DraftSampler

V = 4
CPU = torch.device("cpu")
GUESSES = (3, 2)  # drafts of the first and of the second token
# Parents and, for the test's own walk, which guess of its step each node takes.
TREES = {
    "chain": ([0, 0, 1], [0, 0, 0]),
    "siblings": ([0, 0, 0, 0], [0, 0, 1, 2]),
    "full": ([0, 0, 1, 1, 0, 4, 4, 0, 7, 7], [0, 0, 0, 1, 1, 0, 1, 2, 0, 1]),
    "ragged": ([0, 0, 0, 2, 2], [0, 0, 1, 0, 1]),
}


def laws(seed: int, size: tuple[int, ...], sharpness: float, kept: int) -> Tensor:
    """Random laws; all but `kept` tokens have no mass, as after top-k."""
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(*size, V, generator=generator, dtype=torch.float64) * sharpness
    worst = scores.topk(V - kept, largest=False).indices
    return scores.scatter(-1, worst, -torch.inf).softmax(-1)


class Case:
    """A target of three tokens and the laws of two sources for the first two of them."""

    def __init__(self, seed: int, sharpness: float, kept_p: int, kept_q: int) -> None:
        self.first_V = laws(seed, (), sharpness, kept_p)
        self.second_VV = laws(seed + 1, (V,), sharpness, kept_p)
        self.third_VVV = laws(seed + 2, (V, V), sharpness, kept_p)
        self.sources_2JV = laws(seed + 3, (2, 2), sharpness, kept_q)

    def joint(self) -> Tensor:
        return self.first_V[:, None, None] * self.second_VV[..., None] * self.third_VVV

    def after(self, tree: Tree) -> Tensor:
        """The target's law after each node."""
        parent_BN = tree.tokens_BN.gather(1, tree.parents_BN)
        depth_BN1 = tree.depths_BN[..., None]
        law = self.third_VVV[parent_BN, tree.tokens_BN]
        law = torch.where(depth_BN1 == 1, self.second_VV[tree.tokens_BN], law)
        return torch.where(depth_BN1 == 0, self.first_V, law)


CASES = {
    "flat": Case(0, 0.3, V, V),
    "unlike": Case(10, 2.0, V, V),
    "sharp": Case(20, 6.0, V, V),
    "top-k": Case(30, 1.0, 2, 3),
    "sources run dry": Case(40, 1.0, 3, 1),
    "drafts the target cannot take": Case(50, 1.0, 1, 2),
}
CASES["the target's own law"] = Case(60, 1.0, V, V)
CASES["the target's own law"].sources_2JV[:, 0] = CASES["the target's own law"].first_V


def in_turn(sources_2V: Tensor, count: int) -> list[tuple[tuple[int, ...], float]]:
    """All outcomes of drawing from two sources in turn, no token twice, with probabilities."""
    found = []
    for tokens in itertools.product(range(V), repeat=count):
        probability = 1.0
        for place, token in enumerate(tokens):
            left = sources_2V[place % 2].clone()
            left[list(tokens[:place])] = 0
            if left.sum() == 0:
                probability *= float(token == 0)  # nothing left: whatever it is, it is no draft
            else:
                probability *= float(left[token] / left.sum())
        if probability > 0:
            found.append((tokens, probability))
    return found


def all_drafts(case: Case, name: str) -> tuple[Tree, list[float]]:
    """One row for every possible draft, and its probability."""
    parents, ranks = TREES[name]
    pools = [in_turn(case.sources_2JV[:, step], GUESSES[step]) for step in (0, 1)]
    depths = Shapes([parents], CPU).depths_ZN[0].tolist()
    tokens, weights = [], []
    for (first, p), (second, q) in itertools.product(*pools):
        pool = ((0,), first, second)
        tokens.append([pool[d][r] for d, r in zip(depths, ranks, strict=True)])
        weights.append(p * q)
    which = [r % 2 * 2 + max(d - 1, 0) for d, r in zip(depths, ranks, strict=True)]
    rows = len(tokens)
    tree = Tree(
        shapes=Shapes([parents], CPU),
        shape_B=torch.zeros(rows, dtype=torch.int64),
        tokens_BN=torch.tensor(tokens),
        drawn=Drawn(
            scores_BQV=case.sources_2JV.flatten(0, 1).log().expand(rows, -1, -1),
            which_BN=torch.tensor(which).expand(rows, -1),
        ),
    )
    return tree, weights


def output_law(case: Case, name: str) -> Tensor:
    """Law of three tokens: those that one pass commits, completed by plain decoding."""
    tree, weights = all_drafts(case, name)
    chance_BN, rest_BNV = residual(tree, case.after(tree))
    children = tree.shapes.children_ZNM[0].tolist()
    total = torch.zeros(V, V, V, dtype=torch.float64)

    def spread(node: int, open_B: Tensor, way: list[Tensor]) -> None:
        """`open_B`: probability that a row's walk gets to the node."""
        for child in filter(None, children[node]):
            token_B, chance_B = tree.tokens_BN[:, child], chance_BN[:, child]
            spread(child, open_B * chance_B, [*way, token_B])
            open_B = open_B * (1 - chance_B)
        law_BV = open_B[:, None] * rest_BNV[:, node]
        if not way:
            total.add_(law_BV.sum(0)[:, None, None] * case.second_VV[..., None] * case.third_VVV)
        elif len(way) == 1:
            total.index_add_(0, way[0], law_BV[..., None] * case.third_VVV[way[0]])
        else:
            total.flatten(0, 1).index_add_(0, way[0] * V + way[1], law_BV)

    spread(0, torch.tensor(weights, dtype=torch.float64), [])
    return total


@pytest.mark.parametrize("name", TREES)
@pytest.mark.parametrize("case", CASES)
def test_summed_over_all_drafts_the_output_has_the_law_of_the_target(case: str, name: str) -> None:
    torch.testing.assert_close(
        output_law(CASES[case], name), CASES[case].joint(), rtol=1e-12, atol=1e-14
    )


def test_drafts_are_accepted_as_often_as_laws_overlap() -> None:
    """One draft of one source: 1 - TV(p, q), the best any rule can do."""
    case = CASES["unlike"]
    tree, weights = all_drafts(case, "chain")
    chance_BN, _ = residual(tree, case.after(tree))
    overlap = torch.minimum(case.first_V, case.sources_2JV[0, 0]).sum()
    mean = chance_BN[:, 1] @ torch.tensor(weights, dtype=torch.float64)
    torch.testing.assert_close(mean, overlap)


def test_a_draft_its_law_cannot_give_is_a_bug_of_the_drafter() -> None:
    case = CASES["flat"]
    tree, _ = all_drafts(case, "siblings")
    tree.tokens_BN[0, 2] = tree.tokens_BN[0, 1]
    with pytest.raises(AssertionError, match="cannot give"):
        residual(tree, case.after(tree))


def test_drafts_without_their_law_are_a_bug_of_the_drafter() -> None:
    case = CASES["flat"]
    tree, _ = all_drafts(case, "chain")
    bare = Tree(shapes=tree.shapes, shape_B=tree.shape_B, tokens_BN=tree.tokens_BN)
    with pytest.raises(AssertionError, match="must use DraftSampler"):
        residual(bare, case.after(bare))


# Drafts by DraftSampler, decisions and new tokens by the rule, one image a seed. A sum
# over 15 degrees of freedom beyond 60 has odds of 2 in 10 million; the seeds are fixed.
SEEDS = 100_000
LIMIT = 60.0


def law_of(scores_BNV: Tensor) -> Law:
    sampler = Sampler([SamplerConfig()] * len(scores_BNV), V, scores_BNV.device)
    return Law(unfiltered_BNV=scores_BNV, sampler=sampler)


def noise_of(seeds_B: Tensor, steps_BN: Tensor) -> Noise:
    return Noise.draw(seeds_B, steps_BN, torch.ones(1, 1, 1), V)


def first_tokens(case: Case, name: str) -> Tensor:
    """The first two tokens of many images, int64 [SEEDS, 2]."""
    parents, ranks = TREES[name]
    seeds_B = torch.arange(SEEDS)
    guesses = DraftSampler(by_chance=True)
    scores_2JV = case.sources_2JV.log().float()
    steps_BJ = torch.tensor([[0, 1]]).expand(SEEDS, -1)
    noisy = [
        scores_JV + guesses.noise(lambda _: torch.zeros(()), seeds_B, steps_BJ, V, source)
        for source, scores_JV in enumerate(scores_2JV)
    ]
    drafts_BJM = guesses.best(noisy, 3)
    shapes = Shapes([parents], CPU)
    ranks_BN = torch.tensor(ranks).expand(SEEDS, -1)
    depths_BN = shapes.depths_ZN.expand(SEEDS, -1)
    columns_BN = (depths_BN - 1).clamp(min=0) * 3 + ranks_BN
    tree = Tree(
        shapes=shapes,
        shape_B=torch.zeros(SEEDS, dtype=torch.int64),
        tokens_BN=drafts_BJM.flatten(1).gather(1, columns_BN),
    )
    told = scores_2JV.flatten(0, 1).expand(SEEDS, -1, -1)
    tree = guesses.tell(tree, ranks_BN, told, sources=2)
    after = law_of(case.after(tree).log().float())
    verdict = Residual().judge(tree, after, noise_of(seeds_B, depths_BN))
    commit = verify(tree, verdict, torch.full((SEEDS,), 99))
    tokens_BL = commit.tokens_BL[:, :2].clone()
    # The rest of the image by plain decoding.
    second, _ = law_of(case.second_VV[tokens_BL[:, :1]].log().float()).picks(
        noise_of(seeds_B, torch.ones(SEEDS, 1, dtype=torch.int64)).tokens_BNV
    )
    tokens_BL[:, 1:] = torch.where(commit.counts_B[:, None] > 1, tokens_BL[:, 1:], second)
    return tokens_BL


@pytest.mark.parametrize("name", ["chain", "full"])
@pytest.mark.parametrize("case", ["flat", "unlike"])
def test_with_its_noise_the_output_has_the_law_of_the_target(case: str, name: str) -> None:
    tokens_BL = first_tokens(CASES[case], name)
    seen = torch.bincount(tokens_BL[:, 0] * V + tokens_BL[:, 1], minlength=V * V)
    wanted = SEEDS * CASES[case].joint().sum(-1).flatten()
    assert float(((seen - wanted) ** 2 / wanted).sum()) < LIMIT
