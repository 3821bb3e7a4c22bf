"""Classifier-free guidance: two rows an image, mixed into one (Ho and Salimans, arXiv 2207.12598).

Letters: R rows (branches of an image next to each other), B images, N nodes, V vocabulary.
"""

from torch import Tensor


def mix(logits_RNV: Tensor, guidance_B: Tensor, branches: int) -> Tensor:
    """u + guidance * (c - u) in float32 for two branches (conditional first), c alone for one."""
    logits = logits_RNV.float()
    if branches == 1:
        return logits
    conditional, unconditional = logits.unflatten(0, (-1, branches)).unbind(1)
    return unconditional.lerp(conditional, guidance_B[:, None, None])
