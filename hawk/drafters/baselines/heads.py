"""Heads: small networks on one hidden state of the target, one for each place they guess.

Hawk (Chen et al., arXiv 2510.25739). The hidden state after which step s is picked also hints at
step s + i, by horizontal head i, and at the cell j rows below s, by vertical head j. Each head is a
residual block (as in Medusa, Cai et al., arXiv 2401.10774); all share one output layer.
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
    """All heads and the weights of their product.

    Args:
        identity: Target whose hidden states they read.
        head: Size of the output layer's input.

    Attributes:
        blocks: [O, D, D] and biases [O, D], a residual block of each head.
        weights: [J, Q], weight of each source in the product, by steps ahead; the horizontal source
            comes first.
    """

    def __init__(self, identity: Identity, *, head: int) -> None:
        super().__init__()
        size = identity.hidden_size
        self.blocks = nn.Parameter(torch.empty(HORIZONTAL + VERTICAL, size, size))
        nn.init.normal_(self.blocks, std=size**-0.5)
        self.biases = nn.Parameter(torch.zeros(HORIZONTAL + VERTICAL, size))
        self.out = nn.Linear(size, head)
        self.head = nn.Linear(head, identity.vocabulary)
        self.weights = nn.Parameter(torch.tensor(FIRST_WEIGHTS).repeat(STEPS, 1))

    def forward(self, hidden_BOD: Tensor, heads: slice) -> Tensor:
        """Logits [B, O, V] of some heads, each on its own hidden state or all on one."""
        x = F.rms_norm(hidden_BOD.float(), (hidden_BOD.shape[-1],))
        block = torch.einsum("bid,ide->bie", x, self.blocks[heads]) + self.biases[heads]
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
