"""spatial: the paper's drafter. Horizontal and vertical heads, vertical guesses kept until their
row comes; see `heads`.

How the two directions meet in a cell's pool has four ways: `product`, a log-linear fusion whose
weights are learned; `union`, the paper's, where guesses are taken from both in turn; and either
direction alone.

Letters: B rows, D committed levels, J steps ahead, F sources, V vocabulary.
"""

import torch
from torch import Tensor

from hawk.decoding.drafter import Feedback, FeedbackFields
from hawk.decoding.grid import Identity
from hawk.decoding.tree import Tree
from hawk.drafters import weights
from hawk.drafters.baselines.heads import HORIZONTAL, VERTICAL, Heads, product
from hawk.drafters.draft_sampler import DraftSampler
from hawk.drafters.proposals import MOST_NODES, STEPS, Proposals, at_nodes, committed
from hawk.drafters.ring_buffer import RingBuffer


class Spatial:
    """See `Drafter`."""

    name = "spatial"
    most_nodes = MOST_NODES
    feedback_fields = FeedbackFields(hidden="committed")
    sources = 1  # laws that a step's guesses are drawn from

    def __init__(
        self,
        identity: Identity,
        *,
        slots: int,
        guesses: DraftSampler,
        device: torch.device,
        branching: bool = True,
    ) -> None:
        self._heads = weights.load("spatial", identity, Heads, device)
        self._pool = Proposals(
            identity, slots, guesses, device, branching=branching, sources=self.sources
        )
        width, vocabulary = identity.grid.width, identity.vocabulary
        length = VERTICAL * width + STEPS + 1
        self._below = RingBuffer(torch.zeros(slots, length, VERTICAL, vocabulary, device=device))
        rows_F = torch.arange(1, VERTICAL + 1, device=device)
        self._back_JF = self._pool.ahead_J[:, None] - rows_F * width
        self._rows_F = rows_F - 1

    def draft(self, roots_B: Tensor, nodes: int) -> Tree:
        return self._pool.draft(roots_B, nodes)

    def join(self, slots: range, feedback: Feedback) -> None:
        self._guess(slice(slots.start, slots.stop), feedback)

    def move(self, source: int, target: int) -> None:
        for part in (self._pool, self._below):
            part.move(source, target)

    def observe(self, feedback: Feedback) -> None:
        self._guess(slice(0, len(feedback.steps_B)), feedback)

    def _guess(self, slots: slice, feedback: Feedback) -> None:
        steps_BD, hidden_BDX = committed(feedback, feedback.hidden_BND)
        nodes_XID = hidden_BDX.flatten(0, 1)[:, None]
        below = self._heads(nodes_XID, slice(HORIZONTAL, None)).log_softmax(-1)
        self._below.put(slots, steps_BD, below.unflatten(0, steps_BD.shape))
        last_BID = at_nodes(feedback.hidden_BND, feedback.commit.end_B[:, None])
        scores_BJFV, known_BJF = self._sources(slots, feedback.steps_B, last_BID)
        sampler = feedback.law.sampler
        scores = [sampler.filter(fused) for fused in self._fused(scores_BJFV, known_BJF)]
        noisy = [one + self._pool.noise(feedback, source) for source, one in enumerate(scores)]
        self._pool.offer(slots, scores, noisy)

    def _sources(self, slots: slice, steps_B: Tensor, last_BID: Tensor) -> tuple[Tensor, Tensor]:
        """Log-probabilities of every source [B, J, F, V], and which there are."""
        rows, last_B11 = len(steps_B), steps_B[:, None, None]
        ahead = self._heads(last_BID, slice(0, HORIZONTAL)).log_softmax(-1)
        ahead_BJV = torch.nn.functional.pad(ahead, (0, 0, 0, STEPS - HORIZONTAL))
        back_BJF = last_B11 + self._back_JF
        kept = self._below.at(slots, back_BJF.flatten(1)).view(rows, STEPS, VERTICAL, VERTICAL, -1)
        above_BJFV = kept[:, :, self._rows_F, self._rows_F]
        reached_BJ1 = (self._pool.ahead_J <= HORIZONTAL).expand(rows, -1)[..., None]
        known_BJF = torch.cat([reached_BJ1, (back_BJF >= 0) & (back_BJF <= last_B11)], dim=-1)
        return torch.cat([ahead_BJV[:, :, None], above_BJFV], dim=2), known_BJF

    def _fused(self, scores_BJFV: Tensor, known_BJF: Tensor) -> list[Tensor]:
        """The laws that guesses are drawn from, scores [B, J, V] each."""
        return [self._product(scores_BJFV, known_BJF)]

    def _vertical(self, scores_BJFV: Tensor, known_BJF: Tensor) -> Tensor:
        """Scores of the vertical sources, all equal where none is known."""
        return self._product(scores_BJFV[:, :, 1:], known_BJF[..., 1:], first=1)

    def _product(self, scores_BJFV: Tensor, known_BJF: Tensor, first: int = 0) -> Tensor:
        """Scores of the sources from the first on, fused."""
        weights_JF = self._heads.weights_JF[:, first:]
        return product(weights_JF, scores_BJFV, known_BJF)


class Horizontal(Spatial):
    """Horizontal heads alone: Medusa on a raster."""

    name = "horizontal"

    def _fused(self, scores_BJFV: Tensor, known_BJF: Tensor) -> list[Tensor]:
        return [horizontal(scores_BJFV, known_BJF)]


class Vertical(Spatial):
    """Vertical heads alone."""

    name = "vertical"

    def _fused(self, scores_BJFV: Tensor, known_BJF: Tensor) -> list[Tensor]:
        return [self._vertical(scores_BJFV, known_BJF)]


class Union(Spatial):
    """DraftSampler of both directions in turn."""

    name = "union"
    sources = 2

    def _fused(self, scores_BJFV: Tensor, known_BJF: Tensor) -> list[Tensor]:
        along = horizontal(scores_BJFV, known_BJF)
        down = self._vertical(scores_BJFV, known_BJF)
        # Where one direction has nothing to say the other speaks for both.
        there_BJ1 = known_BJF[..., 1:].any(-1, keepdim=True)
        return [
            along.where(known_BJF[..., :1], down),
            down.where(there_BJ1, along),
        ]


def horizontal(scores_BJFV: Tensor, known_BJF: Tensor) -> Tensor:
    """Scores of the horizontal source, all equal where no head reaches."""
    return scores_BJFV[:, :, 0] * known_BJF[..., :1]
