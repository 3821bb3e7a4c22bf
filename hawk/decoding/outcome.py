"""Outcome: all that the host has to know of a step, in one transfer."""

from dataclasses import dataclass

import torch
from torch import Tensor

from hawk.decoding.rules import Verdict
from hawk.decoding.verifier import Commit


@dataclass(frozen=True, kw_only=True)
class StepResult:
    """Outcome of a step, on the host.

    Attributes:
        counts: Number of tokens that each row committed.
        broken: For each row, True where its tokens came from logits that are not finite.
        dirty: For each row, True where any of its logits are not finite, reached or not.
        move: True where keys and values have to move, as a node off the trunk was accepted.
        valid: True where all drafts were tokens of the vocabulary.
    """

    counts: list[int]
    broken: list[bool]
    dirty: list[bool]
    move: bool
    valid: bool


class Outcome:
    """A StepResult on its way from a device to the host. The device goes on, and so does the host
    until it reads.

    Args:
        verdict: Verdict of the step.
        commit: Commit of the step.
        valid: bool [], True where all drafts were tokens of the vocabulary.
    """

    def __init__(self, verdict: Verdict, commit: Commit, valid: Tensor) -> None:
        self._rows, levels = commit.path_BL.shape
        level_L = torch.arange(levels, device=valid.device)
        kept_BL = level_L < commit.counts_B[:, None]
        healthy_BL = verdict.healthy_BN.gather(1, commit.path_BL)
        numbers = [
            commit.counts_B,
            ~(healthy_BL | ~kept_BL).all(1),
            ~verdict.healthy_BN.all(1),
            ((commit.path_BL != level_L) & kept_BL).any()[None],
            valid[None],
        ]
        self._numbers_X = torch.cat(numbers).to("cpu", non_blocking=True)
        self._arrived = torch.cuda.Event() if valid.is_cuda else None
        if self._arrived is not None:
            self._arrived.record()

    def read(self) -> StepResult:
        """The result, once it is there."""
        if self._arrived is not None:
            self._arrived.synchronize()
        rows, numbers = self._rows, self._numbers_X.tolist()
        return StepResult(
            counts=numbers[:rows],
            broken=[bool(number) for number in numbers[rows : 2 * rows]],
            dirty=[bool(number) for number in numbers[2 * rows : 3 * rows]],
            move=bool(numbers[-2]),
            valid=bool(numbers[-1]),
        )
