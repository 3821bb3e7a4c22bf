"""Relaxed rules relax exactly what they say, on cases worked out by hand."""

import math
from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor

from hawk.decoding import relaxed
from hawk.decoding.noise import Noise
from hawk.decoding.relaxed import Cluster, Neighbour, Typical, nearest
from hawk.decoding.rules import Coupled, Residual, Rule, residual
from hawk.decoding.sampler import Law, Sampler, SamplerConfig
from hawk.decoding.tree import Drawn, Shapes, Tree
from hawk.decoding.verifier import verify

CPU = torch.device("cpu")
P = (0.4, 0.3, 0.2, 0.1)
LINE = torch.tensor([[0.0], [1.0], [3.0], [7.0]])  # nearest first: of 3 come 2, 1, 0


def tree_of(tokens: Sequence[int], parents: Sequence[int], q: Sequence[float] = P) -> Tree:
    return Tree(
        shapes=Shapes([parents], CPU),
        shape_B=torch.tensor([0]),
        tokens_BN=torch.tensor([tokens]),
        drawn=Drawn(
            scores_BQV=torch.tensor([[q]], dtype=torch.float64).log(),
            which_BN=torch.zeros(1, len(tokens), dtype=torch.int64),
        ),
    )


def law_of(p_NV: Sequence[Sequence[float]], noise: float = 1.0) -> Law:
    scores = torch.tensor([p_NV]).log()
    sampler = Sampler([SamplerConfig(temperature=noise)], scores.shape[-1], scores.device)
    return Law(unfiltered_BNV=scores, sampler=sampler)


def noise_of(law: Law) -> Noise:
    """Of one image, every node one step behind its prompt."""
    _, nodes, vocabulary = law.unfiltered_BNV.shape
    steps = torch.ones(1, nodes, dtype=torch.int64)
    return Noise.draw(torch.tensor([1]), steps, law.sampler.noise_scale_B11, vocabulary)


def typical(p: Sequence[float], **parameters: float) -> list[bool]:
    """Which of the four tokens are accepted as drafts."""
    tree = tree_of([0, 0, 1, 2, 3], [0, 0, 0, 0, 0])
    law = law_of([p] * 5)
    verdict = Typical(**parameters).judge(tree, law, noise_of(law))
    return verdict.accepted_BN[0, 1:].tolist()


def test_typical_accepts_what_is_likely_enough() -> None:
    p = (0.5, 0.3, 0.15, 0.05)  # exp(-H) = .319
    assert typical(p, epsilon=0.09, delta=0.3) == [True, True, True, False]
    assert typical(p, epsilon=0.2, delta=1.0) == [True, True, False, False]
    assert typical(p, epsilon=0.9, delta=0.5) == [True, True, False, False]  # .160
    assert typical(p, epsilon=0.9, delta=0.95) == [True, False, False, False]  # .303
    assert typical((0.25,) * 4, epsilon=0.9, delta=0.99) == [True] * 4
    assert typical((1.0, 0.0, 0.0, 0.0)) == [True, False, False, False]


def test_typical_takes_the_longest_of_the_paths_it_accepts() -> None:
    """Drafts 0 and 1 are both likely enough; only 1 is followed by a likely one."""
    tree = tree_of([3, 0, 1, 3, 2], [0, 0, 0, 1, 2])
    sharp = (0.01, 0.01, 0.97, 0.01)
    law = law_of([P, sharp, sharp, P, P])
    commit = verify(tree, Typical().judge(tree, law, noise_of(law)), torch.tensor([9]))
    assert commit.path_BL.tolist() == [[0, 2, 4]]
    assert commit.tokens_BL[0, :2].tolist() == [1, 2]
    assert commit.counts_B.tolist() == [3]


def odds(
    weigh: Callable[..., tuple[Tensor, Tensor]], token: int, q: Sequence[float]
) -> tuple[float, list[float]]:
    """Chance of one draft against `P`, and the law after its refusal."""
    target = torch.tensor([[P, P]], dtype=torch.float64)
    chance_BN, rest_BNV = residual(tree_of([0, token], [0, 0], q), target, weigh)
    return float(chance_BN[0, 1]), rest_BNV[0, 0].tolist()


@pytest.mark.parametrize(
    ("parameters", "pooled", "rest"),
    [
        ({"limit": 0.1}, 0.1, (1 / 2, 1 / 3, 1 / 6, 0)),  # .2 is too much: the draft alone
        ({"limit": 0.25}, 0.3, (0.6, 0.4, 0, 0)),  # with 2, which is cleared
        ({"limit": 0.55}, 0.6, (1, 0, 0, 0)),  # with 2 and 1
        ({"limit": 1.0, "neighbours": 1}, 0.3, (0.6, 0.4, 0, 0)),
        ({"ratio": 2.9}, 0.1, (1 / 2, 1 / 3, 1 / 6, 0)),
        ({"ratio": 3.1}, 0.3, (0.6, 0.4, 0, 0)),
    ],
)
def test_neighbour_pools_the_nearest_within_the_limit(
    parameters: dict[str, float], pooled: float, rest: tuple[float, ...]
) -> None:
    chance, left = odds(Neighbour(LINE, **parameters).weigh, 3, q=(0.1, 0.1, 0.1, 0.7))
    assert chance == pytest.approx(pooled / 0.7)
    assert left == pytest.approx(rest)


# Vectors 0, 1 and 3 are close to each other, 2 is far off.
APART = torch.tensor([[0.0], [0.1], [5.0], [0.2]])


@pytest.mark.parametrize(
    ("parameters", "p", "q"),
    [
        ({"ranks": 1}, 0.7, 0.8),  # 1 with 0; 2 is as near in rank, but looks different
        ({"ranks": 3}, 0.7, 0.8),  # 3 looks alike, but is far less likely
        ({"ranks": 3, "gap": 0.25}, 0.8, 0.9),  # with 3 too
        ({"ranks": 3, "gap": 0.25, "distance": 6.0}, 1.0, 1.0),
        ({"ranks": 1, "gap": 0.05}, 0.3, 0.6),
    ],
)
def test_cluster_weighs_a_draft_with_those_like_it(
    parameters: dict[str, float], p: float, q: float
) -> None:
    chance, left = odds(Cluster(APART, **parameters).weigh, 1, q=(0.2, 0.6, 0.1, 0.1))
    assert chance == pytest.approx(p / q)
    assert left == pytest.approx((2 / 3, 0, 1 / 3, 0))


@pytest.mark.parametrize(
    "rule",
    [Neighbour(LINE, limit=1e-9), Neighbour(LINE, ratio=1 + 1e-9), Cluster(LINE, distance=1e-9)],
)
def test_without_room_they_are_the_residual_rule(rule: Neighbour | Cluster) -> None:
    """Three siblings, so that laws after refusals count too."""
    generator = torch.Generator().manual_seed(0)
    target = torch.rand(1, 4, 4, generator=generator, dtype=torch.float64)
    target /= target.sum(-1, keepdim=True)
    tree = tree_of([0, 3, 1, 2], [0, 0, 0, 0], q=(0.1, 0.2, 0.3, 0.4))
    for relaxed_part, exact_part in zip(
        residual(tree, target, rule.weigh), residual(tree, target), strict=True
    ):
        torch.testing.assert_close(relaxed_part, exact_part)


RULES: list[Rule] = [Residual(), Typical(), Neighbour(LINE), Cluster(LINE)]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_at_temperature_0_only_the_likeliest_token_is_accepted(rule: Rule) -> None:
    tree = tree_of([3, 1, 0, 2], [0, 0, 0, 2])
    law = law_of([P, P, P, P], noise=0.0)
    verdict, certain = (one.judge(tree, law, noise_of(law)) for one in (rule, Coupled()))
    assert verdict.accepted_BN.tolist() == certain.accepted_BN.tolist()
    assert verdict.extra_BN.tolist() == [[0, 0, 0, 0]]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_logits_that_are_not_numbers_are_noticed(rule: Rule) -> None:
    tree = tree_of([3, 1, 0, 2], [0, 0, 0, 2])
    broken, sound = law_of([P, (math.nan,) * 4, P, P]), law_of([P] * 4)
    told = rule.judge(tree, broken, noise_of(broken)).healthy_BN
    assert told.tolist() == [[True, False, True, True]]
    assert rule.judge(tree, sound, noise_of(sound)).healthy_BN.all()


def test_nearest_entries_come_in_order_and_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relaxed, "CHUNK", 16)
    widest = 0
    whole = torch.cdist

    def cdist(a: Tensor, b: Tensor) -> Tensor:
        nonlocal widest
        widest = max(widest, len(a))
        return whole(a, b)

    monkeypatch.setattr(torch, "cdist", cdist)
    codebook = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
    found = nearest(codebook, 7)
    assert widest == 16
    for token in range(50):
        apart = (codebook - codebook[token]).norm(dim=-1)
        assert found[token].tolist() == apart.argsort()[1:8].tolist()
