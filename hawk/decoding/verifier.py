"""Verifier: the one walk through a tree that every drafter and rule shares."""

from dataclasses import dataclass

import torch
from torch import Tensor

from hawk.decoding.rules import Verdict
from hawk.decoding.tree import Tree


@dataclass(frozen=True, kw_only=True)
class Commit:
    """Tokens that a pass adds to each row.

    `accepted` drafts come first, then one extra token from the target itself: a `bonus` when the
    path ended in a leaf, `corrected` where the drafts went wrong. Rows near the end of their image
    commit fewer.

    Attributes:
        end_B: int64, last accepted node that was committed, 0 for the root alone.
        counts_B: int64, number of committed tokens, accepted drafts plus the extra token.
        tokens_BL: int64, committed tokens; entries from `counts_B` on mean nothing.
        path_BL: int64, accepted nodes root first, one for each committed token: the nodes whose
            keys and values stay.
    """

    end_B: Tensor
    counts_B: Tensor
    tokens_BL: Tensor
    path_BL: Tensor


def verify(tree: Tree, verdict: Verdict, remaining_B: Tensor) -> Commit:
    """Accept the deepest path whose every node is accepted.

    Args:
        tree: Tree of drafts.
        verdict: Decision of the rule on its nodes.
        remaining_B: int64, number of tokens that each image still lacks, at least 1.
    """
    shapes, which = tree.shapes, tree.shape_B
    accepted_B1N = verdict.accepted_BN[:, None]
    reached_BN = (accepted_B1N | ~shapes.ancestors_ZNN[which]).all(-1)
    length, deepest = (reached_BN * (shapes.depths_ZN[which] + 1)).max(-1)
    counts = torch.minimum(length, remaining_B)
    path = shapes.path_ZNL[which, deepest]
    end = path.gather(1, counts[:, None] - 1).squeeze(1)
    # A node of the path is followed by the next node's token, the last one by the extra token.
    following = path.roll(-1, 1)
    ended = torch.arange(path.shape[1], device=path.device) >= length[:, None] - 1
    tokens = torch.where(
        ended, verdict.extra_BN.gather(1, path), tree.tokens_BN.gather(1, following)
    )
    return Commit(end_B=end, counts_B=counts, tokens_BL=tokens, path_BL=path)
