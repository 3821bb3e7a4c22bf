"""Sampler: the laws of transformers' filters, and picks that are samples of them."""

import pytest
import torch

from hawk.sampler import Sampler, SamplerConfig
from tests import reference

CPU = torch.device("cpu")
CONFIGS = [
    SamplerConfig(),
    SamplerConfig(temperature=0.6),
    SamplerConfig(top_k=5),
    SamplerConfig(top_k=1),
    SamplerConfig(top_k=10_000),
    SamplerConfig(top_p=0.7),
    SamplerConfig(top_p=1e-6),
    SamplerConfig(temperature=1.7, top_k=40, top_p=0.9),
]


def dense(sampler: Sampler, logits: torch.Tensor, vocabulary: int) -> torch.Tensor:
    """Probabilities over the whole vocabulary."""
    law = sampler.law(logits)
    ids = law.ids.long().expand_as(law.scores_BNK)
    mass = law.scores_BNK.softmax(-1)
    return torch.zeros(*mass.shape[:2], vocabulary).scatter_add_(2, ids, mass)


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_law_is_that_of_transformers(config: SamplerConfig) -> None:
    torch.manual_seed(1)
    logits = torch.randn(1, 20, 100) * 3
    made = dense(Sampler([config], 100, CPU), logits, 100)
    for node in range(20):
        wanted = reference.warp(logits[0, node : node + 1], config).softmax(-1)[0]
        assert torch.allclose(made[0, node], wanted, atol=1e-6)


def test_rows_keep_their_own_settings() -> None:
    torch.manual_seed(2)
    logits = torch.randn(len(CONFIGS), 3, 100) * 3
    together = dense(Sampler(CONFIGS, 100, CPU), logits, 100)
    for row, config in enumerate(CONFIGS):
        alone = dense(Sampler([config], 100, CPU), logits[row : row + 1], 100)
        assert torch.equal(alone[0] > 0, together[row] > 0)
        assert torch.allclose(alone[0], together[row], atol=1e-6)


def test_scores_equal_to_the_last_of_top_k_stay() -> None:
    logits = torch.tensor([[[3.0, 1.0, 2.0, 2.0, 0.0, 2.0]]])
    law = dense(Sampler([SamplerConfig(top_k=2)], 6, CPU), logits, 6)
    assert (law[0, 0] > 0).tolist() == [True, False, True, True, False, True]


def test_scores_equal_to_the_last_of_top_p_stay() -> None:
    logits = torch.tensor([[[3.0, 1.0, 2.0, 2.0, 0.0, 2.0]]])  # mass .43, .16 three times, .06, .02
    law = dense(Sampler([SamplerConfig(top_p=0.5)], 6, CPU), logits, 6)
    assert (law[0, 0] > 0).tolist() == [True, False, True, True, False, True]


@pytest.mark.parametrize("scale", [0.0, 0.05, 0.5, 4.0])  # a flat law is looked at whole
def test_top_p_of_a_large_vocabulary_is_that_of_transformers(scale: float) -> None:
    torch.manual_seed(4)
    logits = torch.randn(1, 8, 1000) * scale
    config = SamplerConfig(top_p=0.85)
    made = dense(Sampler([config], 1000, CPU), logits, 1000)
    wanted = reference.warp(logits[0], config).softmax(-1)
    if scale:
        assert torch.allclose(made[0], wanted, atol=1e-6)
    else:  # all are equal: none is worse than the last that is needed
        assert torch.allclose(made[0], torch.full((8, 1000), 1e-3))


def test_how_many_tokens_are_looked_at_changes_no_law() -> None:
    """A narrow law beside a flat one, which has all looked at, and alone."""
    torch.manual_seed(5)
    narrow, flat = torch.randn(1, 1, 1000) * 6, torch.randn(1, 1, 1000) * 0.1
    sampler = Sampler([SamplerConfig(top_p=0.85)], 1000, CPU)
    alone, beside = sampler.law(narrow), sampler.law(torch.cat([narrow, flat], dim=1))
    assert alone.ids.shape[-1] < beside.ids.shape[-1] == 1000
    assert torch.equal(alone.dense_scores()[0, 0], beside.dense_scores()[0, 0])


def test_a_rough_law_is_of_few_tokens() -> None:
    """Narrow laws are the same; a flat one is cut; a row without top-p has all of its tokens."""
    torch.manual_seed(7)
    logits = torch.cat([torch.randn(1, 1, 1000) * 6, torch.randn(1, 1, 1000) * 0.1])
    sampler = Sampler([SamplerConfig(top_p=0.85)] * 2, 1000, CPU)
    rough, fine = sampler.filtered(logits, rough=True), sampler.filtered(logits)
    assert torch.equal(rough.dense_scores()[0], fine.dense_scores()[0])
    assert rough.dense_scores()[1].isfinite().sum() == 64 < fine.dense_scores()[1].isfinite().sum()
    beside = Sampler([SamplerConfig(top_p=0.85), SamplerConfig()], 1000, CPU)
    assert beside.filtered(logits, rough=True).dense_scores()[1].isfinite().all()


def test_noise_of_the_whole_vocabulary_is_that_of_the_survivors() -> None:
    torch.manual_seed(6)
    logits, seeds, steps = torch.randn(1, 9, 1000) * 3, torch.tensor([5]), torch.arange(9)[None]
    for config in (SamplerConfig(), SamplerConfig(top_p=0.8), SamplerConfig(top_k=30)):
        law = Sampler([config], 1000, CPU).law(logits)
        noise = law.noise(seeds, steps, torch.arange(1000, dtype=torch.int32))
        assert torch.equal(law.under(noise), law.perturbed(seeds, steps))


def test_picks_follow_the_law() -> None:
    """Chi-square over the 5 survivors of top-k, 20,000 draws; fails by chance once in 100,000."""
    torch.manual_seed(3)
    logits = torch.randn(1, 1, 50)
    config = SamplerConfig(temperature=0.8, top_k=5)
    steps = torch.arange(20_000)[None]
    law = Sampler([config], 50, CPU).law(logits.expand(1, 20_000, 50))
    picks = law.picks(torch.tensor([11]), steps)[0].flatten()
    counts = torch.bincount(picks, minlength=50).double()
    wanted = reference.warp(logits[0], config).double().softmax(-1)[0] * 20_000
    assert counts[wanted == 0].sum() == 0
    kept = wanted > 0
    assert ((counts - wanted)[kept] ** 2 / wanted[kept]).sum().item() < 28.5  # 4 degrees


def test_temperature_zero_takes_the_likeliest() -> None:
    logits = torch.randn(2, 4, 30)
    sampler = Sampler([SamplerConfig(temperature=0), SamplerConfig()], 30, CPU)
    picks, _ = sampler.law(logits).picks(torch.tensor([1, 2]), torch.arange(4).expand(2, -1))
    assert torch.equal(picks[0], logits[0].argmax(-1))
    assert not torch.equal(picks[1], logits[1].argmax(-1))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", -1.0),
        ("temperature", float("nan")),
        ("temperature", float("inf")),
        ("top_k", -1),
        ("top_p", 0.0),
        ("top_p", 1.01),
        ("top_p", float("nan")),
    ],
)
def test_bad_settings_are_named(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=name):
        SamplerConfig(**{name: value})  # pyright: ignore[reportArgumentType]
