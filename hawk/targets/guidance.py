"""Classifier-free guidance: rows of one image side by side, mixed into one (arXiv 2207.12598).

Families differ in what the second branch reads (pads, a negative prompt, only what follows the
prompt, a learned null prompt), never in how two branches are mixed. So a target encodes a prompt as
its branches, conditional first, and all else is shared. All branches of all images go through the
model in one pass; official codes that run one pass a branch read the weights twice as often.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from hawk.decoding.target import Branches


def rows(prompts: Sequence[Branches], branches: int) -> list[list[int]]:
    """First `branches` branches of every prompt, one row each."""
    return [ids for prompt in prompts for ids in prompt[:branches]]


def pad(rows: Sequence[list[int]], filler: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Token ids int64 [R, E] padded on the right with `filler`, and their lengths [R]."""
    longest = max(map(len, rows))
    padded = [ids + [filler] * (longest - len(ids)) for ids in rows]
    lengths = [len(ids) for ids in rows]
    return torch.tensor(padded, device=device), torch.tensor(lengths, device=device)


def mix(logits_RNV: Tensor, guidance_B: Tensor, branches: int) -> Tensor:
    """Guided logits in float32: u + guidance * (c - u) for two branches, conditional first; c alone
    for one branch."""
    logits = logits_RNV.float()
    if branches == 1:
        return logits
    conditional, unconditional = logits.unflatten(0, (-1, branches)).unbind(1)
    return unconditional.lerp(conditional, guidance_B[:, None, None])
