"""spatial: the paper's drafter. Horizontal and vertical heads, vertical guesses kept until their
row comes; see `heads`.

The two directions meet in a cell in one of four ways: `product`, a log-linear fusion whose weights
are learned; `union`, the paper's, where drafts are taken from both in turn; and either direction
alone.
"""

import torch
from torch import Tensor

from hawk.decoding.drafter import DrafterConfig, Feedback, FeedbackFields
from hawk.decoding.tree import Tree
from hawk.drafters import weights
from hawk.drafters.baselines.heads import HORIZONTAL, VERTICAL, Heads, product
from hawk.drafters.proposals import MOST_NODES, STEPS, Proposals, at_nodes, committed
from hawk.drafters.ring_buffer import RingBuffer


class Spatial:
    """Drafter whose drafts are drawn from the product of both directions."""

    name = "spatial"
    most_nodes = MOST_NODES
    feedback_fields = FeedbackFields(hidden="committed")
    sources = 1  # laws from which the drafts of a step are drawn

    def __init__(self, config: DrafterConfig) -> None:
        identity, slots, device = config.identity, config.slots, config.device
        self._heads = weights.load("spatial", identity, Heads, device)
        self._proposals = Proposals(config, self.sources)
        width, vocabulary = identity.grid.width, identity.vocabulary
        length = VERTICAL * width + STEPS + 1
        self._below = RingBuffer(torch.zeros(slots, length, VERTICAL, vocabulary, device=device))
        rows_Q = torch.arange(1, VERTICAL + 1, device=device)
        self._back_JQ = self._proposals.ahead_J[:, None] - rows_Q * width
        self._rows_Q = rows_Q - 1

    def draft(self, roots_B: Tensor, nodes: int) -> Tree:
        return self._proposals.draft(roots_B, nodes)

    def join(self, slots: range, feedback: Feedback) -> None:
        self._guess(slice(slots.start, slots.stop), feedback)

    def move(self, source: int, target: int) -> None:
        for part in (self._proposals, self._below):
            part.move(source, target)

    def observe(self, feedback: Feedback) -> None:
        self._guess(slice(0, len(feedback.steps_B)), feedback)

    def _guess(self, slots: slice, feedback: Feedback) -> None:
        steps_BL, hidden_BLD = committed(feedback, feedback.hidden_BND)
        nodes_FOD = hidden_BLD.flatten(0, 1)[:, None]
        below = self._heads(nodes_FOD, slice(HORIZONTAL, None)).log_softmax(-1)
        self._below.put(slots, steps_BL, below.unflatten(0, steps_BL.shape))
        last_B1D = at_nodes(feedback.hidden_BND, feedback.commit.end_B[:, None])
        scores_BJQV, known_BJQ = self._sources(slots, feedback.steps_B, last_B1D)
        sampler = feedback.law.sampler
        scores = [sampler.filter(fused) for fused in self._fused(scores_BJQV, known_BJQ)]
        noisy = [one + self._proposals.noise(feedback, source) for source, one in enumerate(scores)]
        self._proposals.offer(slots, scores, noisy)

    def _sources(self, slots: slice, steps_B: Tensor, last_B1D: Tensor) -> tuple[Tensor, Tensor]:
        """Log-probabilities [B, J, Q, V] of every source, and bool [B, J, Q], True where known."""
        rows, last_B11 = len(steps_B), steps_B[:, None, None]
        ahead = self._heads(last_B1D, slice(0, HORIZONTAL)).log_softmax(-1)
        ahead_BJV = torch.nn.functional.pad(ahead, (0, 0, 0, STEPS - HORIZONTAL))
        back_BJQ = last_B11 + self._back_JQ
        kept = self._below.at(slots, back_BJQ.flatten(1)).view(rows, STEPS, VERTICAL, VERTICAL, -1)
        above_BJQV = kept[:, :, self._rows_Q, self._rows_Q]
        reached_BJ1 = (self._proposals.ahead_J <= HORIZONTAL).expand(rows, -1)[..., None]
        known_BJQ = torch.cat([reached_BJ1, (back_BJQ >= 0) & (back_BJQ <= last_B11)], dim=-1)
        return torch.cat([ahead_BJV[:, :, None], above_BJQV], dim=2), known_BJQ

    def _fused(self, scores_BJQV: Tensor, known_BJQ: Tensor) -> list[Tensor]:
        """Laws from which drafts are drawn, scores [B, J, V] each."""
        return [self._product(scores_BJQV, known_BJQ)]

    def _vertical(self, scores_BJQV: Tensor, known_BJQ: Tensor) -> Tensor:
        """Scores of the vertical sources fused, all equal where none is known."""
        return self._product(scores_BJQV[:, :, 1:], known_BJQ[..., 1:], first=1)

    def _product(self, scores_BJQV: Tensor, known_BJQ: Tensor, first: int = 0) -> Tensor:
        """Scores of the sources from number `first` on, fused."""
        weights_JQ = self._heads.weights[:, first:]
        return product(weights_JQ, scores_BJQV, known_BJQ)


class Horizontal(Spatial):
    """Drafter with horizontal heads alone: Medusa on a raster."""

    name = "horizontal"

    def _fused(self, scores_BJQV: Tensor, known_BJQ: Tensor) -> list[Tensor]:
        return [horizontal(scores_BJQV, known_BJQ)]


class Vertical(Spatial):
    """Drafter with vertical heads alone."""

    name = "vertical"

    def _fused(self, scores_BJQV: Tensor, known_BJQ: Tensor) -> list[Tensor]:
        return [self._vertical(scores_BJQV, known_BJQ)]


class Union(Spatial):
    """Drafter whose drafts are taken from both directions in turn."""

    name = "union"
    sources = 2

    def _fused(self, scores_BJQV: Tensor, known_BJQ: Tensor) -> list[Tensor]:
        along = horizontal(scores_BJQV, known_BJQ)
        down = self._vertical(scores_BJQV, known_BJQ)
        # Where one direction has nothing to say the other speaks for both.
        there_BJ1 = known_BJQ[..., 1:].any(-1, keepdim=True)
        return [
            along.where(known_BJQ[..., :1], down),
            down.where(there_BJ1, along),
        ]


def horizontal(scores_BJQV: Tensor, known_BJQ: Tensor) -> Tensor:
    """Scores of the horizontal source, all equal where no head reaches."""
    return scores_BJQV[:, :, 0] * known_BJQ[..., :1]
