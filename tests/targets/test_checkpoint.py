"""Checkpoints of training scripts: what they keep beside weights, and nothing that runs."""

import argparse
import pathlib
from pathlib import Path
from typing import Any

import pytest
import torch

from hawk.targets.checkpoint import read_pickle

WEIGHTS = {"a.weight": torch.ones(2)}


class Options(argparse.Namespace):
    """A class of one's own."""


@pytest.mark.parametrize(
    "content",
    [
        {"model": WEIGHTS, "steps": 3, "args": argparse.Namespace(lr=1e-4, betas=(0.9, 0.95))},
        {"module": WEIGHTS, "optimizer": {"state": {}}},
        {"state_dict": {**WEIGHTS, "epoch": 3}},
        WEIGHTS,
    ],
    ids=["trained by LlamaGen's scripts", "deepspeed", "lightning", "bare"],
)
def test_weights_are_unwrapped(content: Any, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "x.pt")
    read = read_pickle(tmp_path / "x.pt")
    assert read.keys() == WEIGHTS.keys()
    assert torch.equal(read["a.weight"], WEIGHTS["a.weight"])


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ({"model": WEIGHTS, "args": Options(lr=1)}, r"holds a tests\..*\.Options, which could run"),
        ({"model": WEIGHTS, "args": pathlib.PurePosixPath("x")}, r"holds a pathlib.*, which could"),
        (torch.ones(2), "no weights"),
        ([WEIGHTS], "no weights"),
        ({"model": torch.ones(2)}, "no weights"),
    ],
    ids=["a class of one's own", "another class", "a tensor", "a list", "a wrapped tensor"],
)
def test_all_else_is_refused(content: Any, complaint: str, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "x.pt")
    with pytest.raises(ValueError, match=complaint):
        read_pickle(tmp_path / "x.pt")


def test_what_is_let_in_is_let_in_for_one_file_only(tmp_path: Path) -> None:
    torch.save(WEIGHTS, tmp_path / "x.pt")
    read_pickle(tmp_path / "x.pt")
    assert argparse.Namespace not in torch.serialization.get_safe_globals()
