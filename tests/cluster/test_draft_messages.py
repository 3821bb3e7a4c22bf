"""What a drafter elsewhere is told, and what is refused of what it answers."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from hawk.cluster.draft_actor import DraftActor
from hawk.cluster.draft_messages import Block, DraftCall, Opening, PackedFeedback, unpack_block
from hawk.decoding.sampler import SamplerConfig
from hawk.targets.janus import Janus
from tests.tiny import HIDDEN, VOCABULARY

ROWS, NODES = 2, 3


def block(**changes: Any) -> Block:
    made = Block(
        epoch=1,
        sequence=1,
        parents=np.array([[0, 0, 1], [0, 0, 0]], np.int16),
        shape=np.array([0, 1], np.int16),
        tokens=np.zeros((ROWS, NODES), np.int32),
        scores=None,
        which=None,
        arrived_s=0.0,
        left_s=0.0,
    )
    return replace(made, **changes)


def read(made: Block) -> Any:
    roots_B = torch.tensor([5, 6])
    return unpack_block(made, roots_B, vocabulary=VOCABULARY, most_nodes=8)


def test_a_block_becomes_the_tree_it_was() -> None:
    tree = read(block(tokens=np.array([[0, 1, 2], [0, 3, 4]], np.int32)))
    assert tree.tokens_BN.tolist() == [[5, 1, 2], [6, 3, 4]]
    assert tree.parents_BN.tolist() == [[0, 0, 1], [0, 0, 0]]


GARBAGE: dict[str, dict[str, Any]] = {
    "token beyond the vocabulary": {"tokens": np.full((ROWS, NODES), VOCABULARY, np.int32)},
    "negative token": {"tokens": np.full((ROWS, NODES), -1, np.int32)},
    "row missing": {"tokens": np.zeros((1, NODES), np.int32)},
    "node missing": {"tokens": np.zeros((ROWS, NODES - 1), np.int32)},
    "no nodes": {"tokens": np.zeros((ROWS, 0), np.int32), "parents": np.zeros((1, 0), np.int16)},
    "no shapes": {"parents": np.zeros((0, NODES), np.int16)},
    "fractions for tokens": {"tokens": np.full((ROWS, NODES), np.nan, np.float32)},
    "a list": {"tokens": [[0, 0, 0], [0, 0, 0]]},
    "nothing": {"shape": None},
    "shape that is not there": {"shape": np.array([0, 2], np.int16)},
    "child before its parent": {"parents": np.array([[0, 2, 0]] * 2, np.int16)},
    "parent that is not there": {"parents": np.array([[0, 7, 1]] * 2, np.int16)},
    "too many nodes": {
        "tokens": np.zeros((ROWS, 9), np.int32),
        "parents": np.zeros((2, 9), np.int16),
    },
    "laws of another vocabulary": {
        "scores": np.zeros((ROWS, 1, VOCABULARY + 1), np.float32),
        "which": np.zeros((ROWS, NODES), np.int16),
    },
    "law that is not there": {
        "scores": np.zeros((ROWS, 1, VOCABULARY), np.float32),
        "which": np.ones((ROWS, NODES), np.int16),
    },
}


@pytest.mark.parametrize("garbage", GARBAGE)
def test_garbage_is_refused(garbage: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  the messages are as many as the cases
        read(block(**GARBAGE[garbage]))


def opening(target: Janus, epoch: int = 1, drafter: str = "local") -> Opening:
    return Opening(
        lane="a",
        epoch=epoch,
        drafter=drafter,
        identity=target.identity,
        slots=2,
        by_chance=False,
    )


def first_call(epoch: int, sequence: int) -> DraftCall:
    numbers = np.zeros((1, 2 + 4), np.int64)
    numbers[0, 2] = 1  # one token was committed
    lesson = PackedFeedback(
        slots=(0, 1),
        numbers=numbers,
        samplers=(SamplerConfig(),),
        hidden=np.zeros((1, 1, HIDDEN), np.float16),
        picks=None,
        laws=None,
    )
    return DraftCall(
        lane="a",
        epoch=epoch,
        sequence=sequence,
        events=[lesson],
        roots=np.zeros(1, np.int64),
        nodes=4,
    )


def test_doubled_late_and_early_calls_are_dropped(tiny: Janus) -> None:
    server = DraftActor("cpu", torch.get_num_threads())
    assert server.answer(first_call(1, 1)) is None  # nobody has opened the lane
    server.open(opening(tiny))
    assert server.answer(first_call(1, 2)) is None  # one is missing before it
    made = server.answer(first_call(1, 1))
    assert made is not None
    assert (made.epoch, made.sequence) == (1, 1)
    assert server.answer(first_call(1, 1)) is None  # doubled
    assert server.answer(first_call(1, 2)) is not None
    server.open(opening(tiny, epoch=2))
    assert server.answer(first_call(1, 3)) is None  # of before
    assert server.answer(first_call(2, 1)) is not None
