"""Heads: small networks on one hidden state of the target, one for each place they guess.

Hawk (Chen et al., arXiv 2510.25739). The hidden state after which step s is picked also hints at
step s + i, by horizontal head i, and at the cell j rows below s, by vertical head j. Each head is a
residual block (as in Medusa, Cai et al., arXiv 2401.10774); all share one output layer.

Letters: B rows, I heads, D hidden size, V vocabulary, J steps ahead, F sources (horizontal first).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hawk.decoding.grid import Identity
from hawk.drafters.proposals import STEPS

HORIZONTAL = 8
VERTICAL = 3
FIRST_WEIGHTS = (0.5, 0.3, 0.15, 0.1)


class Heads(nn.Module):
    """Args:
    identity: sizes of the target.
    head: size of the output layer's input.
    """

    def __init__(self, identity: Identity, *, head: int) -> None:
        super().__init__()
        size = identity.hidden_size
        self.blocks_IDD = nn.Parameter(torch.empty(HORIZONTAL + VERTICAL, size, size))
        nn.init.normal_(self.blocks_IDD, std=size**-0.5)
        self.biases_ID = nn.Parameter(torch.zeros(HORIZONTAL + VERTICAL, size))
        self.out = nn.Linear(size, head)
        self.head = nn.Linear(head, identity.vocabulary)
        # Of each source in the product, by steps ahead.
        self.weights_JF = nn.Parameter(torch.tensor(FIRST_WEIGHTS).repeat(STEPS, 1))

    def forward(self, hidden_BID: Tensor, heads: slice) -> Tensor:
        """Logits [B, I, V] of some heads, each on its own hidden state or all on one."""
        x = F.rms_norm(hidden_BID.float(), (hidden_BID.shape[-1],))
        block = torch.einsum("bid,ide->bie", x, self.blocks_IDD[heads]) + self.biases_ID[heads]
        return self.head(F.gelu(self.out(x + F.silu(block))))


def product(weights_JF: Tensor, scores_BJFV: Tensor, known_BJF: Tensor) -> Tensor:
    """Log-linear fusion [B, J, V] of the sources that are known; the others' weight goes to them.

    Args:
        weights_JF: of each source.
        scores_BJFV: log-probabilities.
    """
    weights_BJF = weights_JF * known_BJF
    whole_J = weights_JF.sum(-1)
    weights_BJF = weights_BJF * (whole_J / weights_BJF.sum(-1).clamp(min=1e-3))[..., None]
    return (scores_BJFV * weights_BJF[..., None]).sum(-2)
