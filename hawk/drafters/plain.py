"""plain: no draft. Ordinary decoding through the same loop, the baseline of every speed-up."""

import torch
from torch import Tensor

from hawk.decoding.drafter import Feedback, FeedbackFields
from hawk.decoding.grid import Identity
from hawk.decoding.tree import Shapes, Tree
from hawk.drafters.draft_sampler import DraftSampler


class Plain:
    """See `Drafter`."""

    name = "plain"
    most_nodes = 1
    feedback_fields = FeedbackFields()

    def __init__(
        self,
        identity: Identity,
        *,
        slots: int,
        guesses: DraftSampler,
        device: torch.device,
        branching: bool = True,
    ) -> None:
        self._root = Shapes.chain(0, device)
        self._shape_S = torch.zeros(slots, dtype=torch.int64, device=device)

    def draft(self, roots_B: Tensor, nodes: int) -> Tree:
        return Tree(
            shapes=self._root, shape_B=self._shape_S[: len(roots_B)], tokens_BN=roots_B[:, None]
        )

    def join(self, slots: range, feedback: Feedback) -> None:
        pass

    def move(self, source: int, target: int) -> None:
        pass

    def observe(self, feedback: Feedback) -> None:
        pass
