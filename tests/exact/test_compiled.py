"""Compiled layers: the tokens of plain decoding, and one piece of code for all of the layers."""

from dataclasses import replace

import pytest
import torch
from torch._dynamo.utils import counters

from hawk import Request, SamplerConfig
from hawk.targets import catalogue
from hawk.targets.random_target import RandomTarget
from tests.tiny import new_session, tokens_of

SMALL = replace(
    catalogue.find("janus-pro-1b"), grid=(4, 6), vocabulary=64, hidden=64, intermediate=96,
    layers=12, heads=2, head_size=16,
)  # fmt: skip
ASKED = [
    Request(prompt="x", seed=seed, guidance=guidance, sampler=SamplerConfig())
    for seed, guidance in enumerate([5.0, 1.0, 2.0])
]


@pytest.fixture
def target() -> RandomTarget:
    torch.manual_seed(0)
    return RandomTarget(SMALL, dtype=torch.float32, device=torch.device("cpu"))


def tokens(target: RandomTarget, drafter: str) -> list[list[int]]:
    return tokens_of(new_session(target, drafter, 2), ASKED)


@pytest.mark.slow
def test_compiled_layers_give_the_tokens_of_plain_decoding(target: RandomTarget) -> None:
    plain = tokens(target, "plain")
    counters.clear()
    target.compile(backend="eager")  # traced as for a GPU, and run without a compiler
    assert tokens(target, "jacobi") == plain
    assert 0 < counters["stats"]["unique_graphs"] < SMALL.layers, "some code is of one layer only"
