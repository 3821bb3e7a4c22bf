"""Random weights in a published shape: the shape is right, passes run, pictures are refused."""

from dataclasses import replace

import pytest
import torch

from hawk import Request
from hawk.bench.step_time import NODES, measure
from hawk.targets import catalogue
from hawk.targets.random_target import RandomTarget
from tests.tiny import new_session

CPU = torch.device("cpu")
SMALL = replace(
    catalogue.find("emu3-gen-8b"), grid=(4, 6), vocabulary=64, hidden=64, intermediate=96,
    layers=2, heads=2, head_size=16,
)  # fmt: skip


def test_the_shape_of_the_embedded_model_weighs_what_the_model_does() -> None:
    target = RandomTarget(catalogue.find("emoji"), dtype=torch.float32, device=CPU)
    blocks = 6 * (4 * 384 * 384 + 3 * 384 * 1024 + 2 * 384)
    assert target.read_bytes == 4 * (blocks + 1024 * 384)


def test_a_session_draws_with_it_but_there_is_no_picture() -> None:
    target = RandomTarget(SMALL, dtype=torch.float32, device=CPU)
    session = new_session(target, "plain", 1, guided=False)
    session.submit(Request(prompt="anything", seed=1, guidance=1.0, sampler=target.default_sampler))
    (finished,) = session.run()
    assert finished.tokens_T.shape == (24,)
    with pytest.raises(ValueError, match="random weights makes no pictures"):
        target.pixels(finished.tokens_T[None])


@pytest.mark.parametrize("guided", [False, True])
def test_each_batch_and_tree_is_timed_against_its_memory_limit(guided: bool) -> None:
    target = RandomTarget(SMALL, dtype=torch.float32, device=CPU)
    report = measure(target, (1, 3), guided=guided)
    assert [(row["batch"], row["nodes"]) for row in report["rows"]] == [
        (batch, nodes) for batch in (1, 3) for nodes in NODES
    ]
    assert all(row["ms"] > 0 and row["share_of_limit"] >= 0 for row in report["rows"])
    limits = {row["batch"]: row["limit_ms"] for row in report["rows"]}
    assert limits[3] >= limits[1] > 0


def test_an_unknown_model_is_told_which_there_are() -> None:
    with pytest.raises(
        ValueError, match="no published model 'gpt': give one of emoji, janus-pro-1b"
    ):
        catalogue.find("gpt")
