"""Sampler: the laws of transformers' filters, and picks that are samples of them."""

import pytest
import torch

from hawk.decoding.noise import Noise
from hawk.decoding.sampler import Sampler, SamplerConfig
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


def mass(sampler: Sampler, logits: torch.Tensor) -> torch.Tensor:
    """Probabilities after the filters."""
    return sampler.law(logits).scores_BNV.softmax(-1)


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_law_is_that_of_transformers(config: SamplerConfig) -> None:
    torch.manual_seed(1)
    logits = torch.randn(1, 20, 100) * 3
    made = mass(Sampler([config], 100, CPU), logits)
    for node in range(20):
        wanted = reference.warp(logits[0, node : node + 1], config).softmax(-1)[0]
        assert torch.allclose(made[0, node], wanted, atol=1e-6)


def test_rows_keep_their_own_settings() -> None:
    torch.manual_seed(2)
    logits = torch.randn(len(CONFIGS), 3, 100) * 3
    together = mass(Sampler(CONFIGS, 100, CPU), logits)
    for row, config in enumerate(CONFIGS):
        alone = mass(Sampler([config], 100, CPU), logits[row : row + 1])
        assert torch.equal(alone[0] > 0, together[row] > 0)
        assert torch.allclose(alone[0], together[row], atol=1e-6)


def test_scores_equal_to_the_last_of_top_k_stay() -> None:
    logits = torch.tensor([[[3.0, 1.0, 2.0, 2.0, 0.0, 2.0]]])
    law = mass(Sampler([SamplerConfig(top_k=2)], 6, CPU), logits)
    assert (law[0, 0] > 0).tolist() == [True, False, True, True, False, True]


def test_scores_equal_to_the_last_of_top_p_stay() -> None:
    logits = torch.tensor([[[3.0, 1.0, 2.0, 2.0, 0.0, 2.0]]])  # mass .43, .16 three times, .06, .02
    law = mass(Sampler([SamplerConfig(top_p=0.5)], 6, CPU), logits)
    assert (law[0, 0] > 0).tolist() == [True, False, True, True, False, True]


@pytest.mark.parametrize("scale", [0.0, 0.05, 0.5, 4.0])  # a flat law is looked at whole
def test_top_p_of_a_large_vocabulary_is_that_of_transformers(scale: float) -> None:
    torch.manual_seed(4)
    logits = torch.randn(1, 8, 1000) * scale
    config = SamplerConfig(top_p=0.85)
    made = mass(Sampler([config], 1000, CPU), logits)
    wanted = reference.warp(logits[0], config).softmax(-1)
    if scale:
        assert torch.allclose(made[0], wanted, atol=1e-6)
    else:  # all are equal: none is worse than the last that is needed
        assert torch.allclose(made[0], torch.full((8, 1000), 1e-3))


@pytest.mark.parametrize("scale", [0.1, 1.0, 6.0])  # of the laws; flat ones are filtered as a whole
@pytest.mark.parametrize("config", [*CONFIGS, SamplerConfig(top_p=0.85), SamplerConfig(top_k=90)])
def test_picks_are_the_best_of_what_the_filters_keep(config: SamplerConfig, scale: float) -> None:
    """Looking at winners first is a short cut to the same tokens; rows do not meddle."""
    torch.manual_seed(5)
    logits, noise = torch.randn(2, 400, 100) * scale, torch.randn(2, 400, 100) * 2
    logits = (logits * 8).round() / 8  # equal scores are common in half precision
    law = Sampler([config, SamplerConfig(top_k=7)], 100, CPU).law(logits)
    picks, best = law.picks(noise.clone())
    wanted = (law.scores_BNV + noise).max(-1)
    assert torch.equal(picks, wanted.indices)
    assert torch.equal(best, wanted.values)


def test_picks_tell_logits_that_are_no_numbers() -> None:
    logits = torch.randn(1, 4, 30)
    logits[0, 1, 3], logits[0, 2, :] = torch.nan, torch.inf
    for config in (SamplerConfig(), SamplerConfig(top_k=3), SamplerConfig(top_p=0.5)):
        _, best = Sampler([config], 30, CPU).law(logits).picks(torch.zeros(1, 4, 30))
        assert best.isfinite().tolist() == [[True, False, False, True]]


def test_picks_follow_the_law() -> None:
    """Chi-square over the 5 survivors of top-k, 20,000 draws; fails by chance once in 100,000."""
    torch.manual_seed(3)
    logits = torch.randn(1, 1, 50)
    config = SamplerConfig(temperature=0.8, top_k=5)
    steps = torch.arange(20_000)[None]
    law = Sampler([config], 50, CPU).law(logits.expand(1, 20_000, 50))
    noise = Noise.draw(torch.tensor([11]), steps, law.sampler.noise_scale_B11, 50)
    picks = law.picks(noise.tokens_BNV)[0].flatten()
    counts = torch.bincount(picks, minlength=50).double()
    wanted = reference.warp(logits[0], config).double().softmax(-1)[0] * 20_000
    assert counts[wanted == 0].sum() == 0
    kept = wanted > 0
    assert ((counts - wanted)[kept] ** 2 / wanted[kept]).sum().item() < 28.5  # 4 degrees


def test_temperature_zero_takes_the_likeliest() -> None:
    logits = torch.randn(2, 4, 30)
    sampler = Sampler([SamplerConfig(temperature=0), SamplerConfig()], 30, CPU)
    steps = torch.arange(4).expand(2, -1)
    noise = Noise.draw(torch.tensor([1, 2]), steps, sampler.noise_scale_B11, 30)
    picks, _ = sampler.law(logits).picks(noise.tokens_BNV)
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
