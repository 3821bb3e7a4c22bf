"""ContextNetwork: a small network that guesses a cell from the cells around it.

It sees the tokens of a few cells to the left and of a patch of the rows above, and hidden states of
the target: the last verified one, those of the cells above, and, where it is to correct the
target's own stale laws, the stale one. The cells to the left may be guesses themselves. Local 2-D
context is worth more than distance costs, so its accuracy fades little with depth.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hawk.decoding.drafter import Feedback
from hawk.decoding.grid import Grid, Identity
from hawk.drafters.proposals import SHORT, STEPS, committed
from hawk.drafters.ring_buffer import RingBuffer

LEFT = 4
ABOVE = (*((1, column) for column in range(-3, 5)), *((2, column) for column in range(-1, 3)))
OWN_WEIGHTS = (0.7, 0.45)  # first weight of a law that is not short, and of one that is
ABOVE_WEIGHTS = (0.3, 0.5)


@dataclass(frozen=True, kw_only=True)
class LocalContext:
    """Known tokens and hidden states around each of the steps ahead.

    Attributes:
        steps_BJ: int64, raster steps.
        line_BX: int64, the last X committed tokens, in raster order.
        above_BJA: int64, tokens of the cells above; the vocabulary's size stands for none.
        recent_B1D: float32, the last verified hidden state.
        hidden_BJX: float32, other hidden states side by side, 0 for none.
        short_BJ: int64, number of steps by which the stale law falls short.
    """

    steps_BJ: Tensor
    line_BX: Tensor
    above_BJA: Tensor
    recent_B1D: Tensor
    hidden_BJX: Tensor
    short_BJ: Tensor

    def left(self, guesses_BJ: Tensor) -> Tensor:
        """Tokens [B, J, X] to the left of each step, if the steps ahead are as guessed."""
        return torch.cat([self.line_BX, guesses_BJ[:, :-1]], dim=1).unfold(1, LEFT, 1)


class ContextMemory:
    """Tokens and hidden states of the committed part of images.

    Args:
        tokens: int64, token of every step.
        hidden: Hidden state [D] after which each step was picked.
        grid: Grid of the images.
        vocabulary: Number of image tokens.
    """

    def __init__(self, tokens: RingBuffer, hidden: RingBuffer, grid: Grid, vocabulary: int) -> None:
        self._tokens, self._hidden = tokens, hidden
        self._width, self._none = grid.width, vocabulary
        device = tokens.memory_SX.device
        self._ahead_J = torch.arange(1, STEPS + 1, device=device)
        self._line_X = torch.arange(1 - LEFT, 1, device=device)
        distance_A = torch.tensor([row * grid.width - column for row, column in ABOVE])
        self._above_JA = self._ahead_J[:, None] - distance_A.to(device)
        # Hidden states after which the cell above was picked, and after its token.
        self._above_hidden_JX = self._ahead_J[:, None] - grid.width + torch.arange(2, device=device)

    @classmethod
    def empty(cls, identity: Identity, slots: int, device: torch.device) -> "ContextMemory":
        grid = identity.grid
        tokens = torch.zeros(slots, grid.cells + STEPS + 1, dtype=torch.int64, device=device)
        hidden = torch.zeros(slots, grid.width + STEPS + 1, identity.hidden_size, device=device)
        return cls(RingBuffer(tokens), RingBuffer(hidden), grid, identity.vocabulary)

    def put(self, slots: slice, feedback: Feedback) -> None:
        """Take in the tokens that a pass committed."""
        steps_BL, hidden_BLD = committed(feedback, feedback.hidden_BND)
        self._tokens.put(slots, steps_BL, feedback.commit.tokens_BL)
        self._hidden.put(slots, steps_BL, hidden_BLD)

    def move(self, source: int, target: int) -> None:
        self._tokens.move(source, target)
        self._hidden.move(source, target)

    def context(
        self, slots: slice | Tensor, last_B: Tensor, stale_BJX: Tensor, short_BJ: Tensor
    ) -> LocalContext:
        """The context of the steps behind the last committed ones.

        Args:
            slots: Slots of the rows.
            last_B: int64, last committed step.
            stale_BJX: Stale hidden states of the steps ahead, [B, J, 0] for none.
            short_BJ: int64, number of steps by which they fall short.
        """
        last_B1 = last_B[:, None]
        rows, reach = short_BJ.shape
        line_BX = last_B1 + self._line_X
        above_BX = (last_B1 + self._above_JA[:reach].flatten()).expand(rows, -1)
        hidden_BX = (last_B1 + self._above_hidden_JX[:reach].flatten()).expand(rows, -1)
        here_BX = ((hidden_BX >= 0) & (hidden_BX <= last_B1))[..., None]
        near = self._hidden.at(slots, hidden_BX).float() * here_BX
        return LocalContext(
            steps_BJ=last_B1 + self._ahead_J[:reach],
            line_BX=self._known(slots, line_BX, last_B1),
            above_BJA=self._known(slots, above_BX, last_B1).view(rows, reach, -1),
            recent_B1D=self._hidden.at(slots, last_B1).float(),
            hidden_BJX=torch.cat([near.view(rows, reach, -1), stale_BJX.float()], dim=-1),
            short_BJ=short_BJ,
        )

    def _known(self, slots: slice | Tensor, steps_BX: Tensor, last_B1: Tensor) -> Tensor:
        there_BX = (steps_BX >= 0) & (steps_BX <= last_B1)
        return self._tokens.at(slots, steps_BX).where(there_BX, self._none)


class ContextNetwork(nn.Module):
    """Logits of the steps ahead from their context.

    Args:
        identity: Target that it drafts for.
        channels: Channels of the network.
        embedding: Size of a token's embedding.
        head: Size of the output head's input.
        stale: True where stale hidden states are part of the context.
    """

    def __init__(
        self, identity: Identity, *, channels: int, embedding: int, head: int, stale: bool
    ) -> None:
        super().__init__()
        self.stale = stale
        grid, vocabulary = identity.grid, identity.vocabulary
        self._width, self._cells = grid.width, grid.cells
        self.tokens = nn.Embedding(vocabulary + 1, embedding)
        self.left = nn.Linear(LEFT * embedding, channels, bias=False)
        self.above = nn.Linear(len(ABOVE) * embedding, channels, bias=False)
        self.hidden = nn.Linear((4 if stale else 3) * identity.hidden_size, channels)
        self.row = nn.Embedding(grid.height, channels)
        self.column = nn.Embedding(grid.width, channels)
        self.ahead = nn.Parameter(torch.zeros(STEPS, channels))
        self.short = nn.Embedding(SHORT + 1, channels)
        self.block = nn.Sequential(
            nn.Linear(channels, channels), nn.GELU(), nn.Linear(channels, channels)
        )
        self.out: nn.Module = nn.Linear(channels, head)
        self.head = nn.Linear(head, vocabulary)
        self._hidden_size = identity.hidden_size
        # Weights of the stale law and the law above, by shortness: without the network and with it.
        own = torch.tensor([OWN_WEIGHTS[0], *[OWN_WEIGHTS[1]] * SHORT])
        above = torch.tensor([ABOVE_WEIGHTS[0], *[ABOVE_WEIGHTS[1]] * SHORT])
        self.alone = nn.Parameter(torch.stack([own, above], dim=-1))
        self.beside = nn.Parameter(torch.stack([own, above], dim=-1))

    def folded(self) -> "ContextNetwork":
        """The network for drafting, its last two layers merged: nothing is between them, and
        channels are fewer than the head's inputs. It is trained and stored with both."""
        assert isinstance(self.out, nn.Linear)
        head = nn.Linear(
            self.out.in_features, self.head.out_features, device=self.head.weight.device
        )
        head.weight = nn.Parameter(self.head.weight @ self.out.weight, requires_grad=False)
        head.bias = nn.Parameter(self.head(self.out.bias), requires_grad=False)
        self.out, self.head = nn.Identity(), head
        return self

    def encode(self, context: LocalContext) -> Tensor:
        """Channels [B, J, C] of all that does not depend on guesses."""
        steps_BJ = context.steps_BJ.clamp(max=self._cells - 1)
        size = self._hidden_size
        recent_B1D = F.rms_norm(context.recent_B1D, (size,))
        hidden_BJX = F.rms_norm(context.hidden_BJX.unflatten(-1, (-1, size)), (size,)).flatten(-2)
        # The last verified state is the same for all steps: its product is computed once.
        weights = self.hidden.weight
        return (
            self.above(self.tokens(context.above_BJA).flatten(-2))
            + F.linear(hidden_BJX, weights[:, size:], self.hidden.bias)
            + F.linear(recent_B1D, weights[:, :size])
            + self.row(steps_BJ // self._width)
            + self.column(steps_BJ % self._width)
            + self.ahead[: context.steps_BJ.shape[1]]
            + self.short(context.short_BJ.clamp(max=SHORT))
        )

    def forward(self, encoded_BJC: Tensor, left_BJX: Tensor) -> Tensor:
        """Logits [B, J, V], given the tokens to the left."""
        x = F.gelu(encoded_BJC + self.left(self.tokens(left_BJX).flatten(-2)))
        return self.head(self.out(x + self.block(x)))


def fuse(
    weights: Tensor, own_BJV: Tensor, above_BJV: Tensor, known_BJ: Tensor, short_BJ: Tensor
) -> Tensor:
    """Log-linear mixture of stale laws and, where they are known, the laws of the cells above.

    Args:
        weights: Weights [SHORT + 1, 2] of both, by the steps by which the stale law falls short.
        own_BJV: Stale laws.
        above_BJV: Laws of the cells above.
        known_BJ: bool, True where the law above is known.
        short_BJ: int64, number of steps by which the stale law falls short.
    """
    own_BJ, above_BJ = weights[short_BJ.clamp(max=SHORT)].unbind(-1)
    own_BJ = own_BJ + above_BJ.masked_fill(known_BJ, 0)
    above_BJ = above_BJ.masked_fill(~known_BJ, 0)
    return own_BJV * own_BJ[..., None] + above_BJV * above_BJ[..., None]
