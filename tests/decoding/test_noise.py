"""Noise: the right law, independent in every argument, and a function of nothing else."""

import math

import pytest
import torch

from hawk.decoding import noise
from hawk.decoding.noise import bits, gumbel
from tests import reference
from tests.needs import NEEDS_CUDA

IDS = torch.arange(1024, dtype=torch.int32)


def sample(seeds: list[int], steps: list[int], ids: torch.Tensor = IDS) -> torch.Tensor:
    return gumbel(torch.tensor(seeds), torch.tensor([steps] * len(seeds)), ids)


def test_moments_are_those_of_the_gumbel_law() -> None:
    noise = sample(list(range(50)), list(range(64))).double().flatten()
    count = len(noise)  # 3.3 million
    assert abs(noise.mean().item() - 0.577216) < 6 * math.sqrt(math.pi**2 / 6 / count)
    assert abs(noise.var().item() - math.pi**2 / 6) < 0.02
    skew = ((noise - noise.mean()) / noise.std()).pow(3).mean().item()
    assert abs(skew - 1.1395) < 0.03
    # Every quantile, by the Kolmogorov-Smirnov distance; 2.3 is passed once in 10,000 draws.
    uniform = torch.exp(-torch.exp(-noise)).sort().values
    distance = (uniform - (torch.arange(count) + 0.5) / count).abs().max().item()
    assert distance * math.sqrt(count) < 2.3


@pytest.mark.parametrize("axis", ["seed", "step", "token", "high seed bits"])
def test_neighbours_are_uncorrelated(axis: str) -> None:
    if axis == "high seed bits":
        seeds = [i << 32 for i in range(256)]
        noise = sample(seeds, list(range(16)))
    else:
        noise = sample(list(range(256)), list(range(16)))
    dim = {"seed": 0, "step": 1, "token": 2, "high seed bits": 0}[axis]
    a = noise.narrow(dim, 0, noise.shape[dim] - 1).flatten().double()
    b = noise.narrow(dim, 1, noise.shape[dim] - 1).flatten().double()
    correlation = torch.corrcoef(torch.stack([a, b]))[0, 1].item()
    assert abs(correlation) < 5 / math.sqrt(len(a))


def test_every_bit_is_fair_and_flips_with_every_argument_bit() -> None:
    steps = torch.arange(64)[None]
    base = bits(torch.tensor([12345]), steps, IDS)
    ones = torch.stack([(base >> i) & 1 for i in range(32)]).double().mean((1, 2, 3))
    assert (ones - 0.5).abs().max() < 6 * 0.5 / math.sqrt(base.numel())
    for flip in (0, 1, 20, 33, 62):
        other = bits(torch.tensor([12345 ^ (1 << flip)]), steps, IDS)
        changed = torch.stack([((base ^ other) >> i) & 1 for i in range(32)]).double()
        assert (changed.mean((1, 2, 3)) - 0.5).abs().max() < 0.015


def test_sampled_law_is_the_softmax() -> None:
    """Chi-square over 16 tokens, 200,000 draws; a right sampler fails once in 100,000 runs."""
    torch.manual_seed(0)
    logits = torch.randn(16) * 1.5
    noise = gumbel(
        torch.arange(2000), torch.arange(100).expand(2000, -1), torch.arange(16, dtype=torch.int32)
    )
    counts = torch.bincount((logits + noise).argmax(-1).flatten(), minlength=16).double()
    expected = logits.double().softmax(0) * counts.sum()
    chi_square = ((counts - expected) ** 2 / expected).sum().item()
    assert chi_square < 50.5  # 15 degrees of freedom


def test_numbers_depend_on_seed_step_and_token_alone() -> None:
    whole = sample([3, 2**40, 9], [0, 5, 9])
    alone = sample([2**40], [5])
    assert torch.equal(whole[1, 1], alone[0, 0])
    some = torch.tensor([[[7, 3, 900]]], dtype=torch.int32)
    assert torch.equal(sample([9], [9], some)[0, 0], whole[2, 2, [7, 3, 900]])


def test_equals_the_reference() -> None:
    for seed, step in ((0, 0), (1, 0), (0, 1), (2**63 - 1, 8099), (7 << 32, 3)):
        assert torch.equal(sample([seed], [step])[0, 0], reference.gumbel(seed, step, 1024))


def test_bits_of_tensors_are_those_of_arrays() -> None:
    """On a CPU numpy makes them; tensors elsewhere are hashed by torch."""
    seeds, steps = torch.tensor([0, 7 << 32, 2**63 - 1]), torch.arange(40).expand(3, -1)
    some = torch.randint(0, 1 << 20, (3, 40, 5), dtype=torch.int32)
    for ids, stream in ((IDS, 0), (some, 0), (IDS, 3)):
        words = [seeds[:, None], seeds[:, None] >> 32, steps, ids]
        tensors = noise._scramble([word.to(torch.int32) for word in words], stream, noise._mix)
        assert torch.equal(bits(seeds, steps, ids, stream), tensors)


@NEEDS_CUDA
def test_same_on_cuda() -> None:
    seeds, steps = torch.arange(64) << 20, torch.arange(256).expand(64, -1)
    here, there = (bits(seeds.to(d), steps.to(d), IDS.to(d)).cpu() for d in ("cpu", "cuda"))
    assert torch.equal(here, there)
    here, there = (gumbel(seeds.to(d), steps.to(d), IDS.to(d)).cpu() for d in ("cpu", "cuda"))
    assert torch.equal(here, there)
