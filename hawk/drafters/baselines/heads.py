"""Heads: small networks on one hidden state of the target, one for each place they guess.

Hawk (Chen et al., arXiv 2510.25739). The hidden state after which step s is picked also hints at
step s + i, by horizontal head i, and at the cell j rows below s, by vertical head j. Each head is a
residual block (as in Medusa, Cai et al., arXiv 2401.10774); all share one output layer.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hawk.decoding.grid import Identity
from hawk.drafters.proposals import STEPS

HORIZONTAL = 8
VERTICAL = 3
FIRST_WEIGHTS = (0.5, 0.3, 0.15, 0.1)
OLD_NAMES = {"blocks_ODD": "blocks_ODD", "biases_OD": "biases_OD", "weights_JQ": "weights_JQ"}


class Heads(nn.Module):
    """All heads and the weights of their product.

    Args:
        identity: Target whose hidden states they read.
        head: Size of the output layer's input.
    """

    def __init__(self, identity: Identity, *, head: int) -> None:
        super().__init__()
        size = identity.hidden_size
        self.blocks_ODD = nn.Parameter(torch.empty(HORIZONTAL + VERTICAL, size, size))
        nn.init.normal_(self.blocks_ODD, std=size**-0.5)
        self.biases_OD = nn.Parameter(torch.zeros(HORIZONTAL + VERTICAL, size))
        self.out = nn.Linear(size, head)
        self.head = nn.Linear(head, identity.vocabulary)
        # Weight of each source in the product, by steps ahead; the horizontal source comes first.
        self.weights_JQ = nn.Parameter(torch.tensor(FIRST_WEIGHTS).repeat(STEPS, 1))
        self.register_load_state_dict_pre_hook(_rename)

    def forward(self, hidden_BOD: Tensor, heads: slice) -> Tensor:
        """Logits [B, O, V] of some heads, each on its own hidden state or all on one."""
        x = F.rms_norm(hidden_BOD.float(), (hidden_BOD.shape[-1],))
        block = torch.einsum("bid,ide->bie", x, self.blocks_ODD[heads]) + self.biases_OD[heads]
        return self.head(F.gelu(self.out(x + F.silu(block))))


def product(weights_JQ: Tensor, scores_BJQV: Tensor, known_BJQ: Tensor) -> Tensor:
    """Log-linear fusion [B, J, V] of the sources that are known, which share the others' weight.

    Args:
        weights_JQ: Weight of each source.
        scores_BJQV: Log-probabilities of each source.
        known_BJQ: bool, True where a source is known.
    """
    weights_BJQ = weights_JQ * known_BJQ
    whole_J = weights_JQ.sum(-1)
    weights_BJQ = weights_BJQ * (whole_J / weights_BJQ.sum(-1).clamp(min=1e-3))[..., None]
    return (scores_BJQV * weights_BJQ[..., None]).sum(-2)


def _rename(_module: nn.Module, state: dict[str, Any], *_: object) -> None:
    """Give parameters in files of earlier versions their names of today."""
    for old, new in OLD_NAMES.items():
        if old in state:
            state[new] = state.pop(old)
