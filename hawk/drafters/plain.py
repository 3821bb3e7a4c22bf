"""plain: no draft. Ordinary decoding through the same loop, the baseline of every speed-up."""

import torch
from torch import Tensor

from hawk.decoding.drafter import DrafterConfig, Feedback, FeedbackFields
from hawk.decoding.tree import Shapes, Tree


class Plain:
    """Drafter of trees that are a root alone."""

    name = "plain"
    most_nodes = 1
    feedback_fields = FeedbackFields()

    def __init__(self, config: DrafterConfig) -> None:
        self._root = Shapes.chain(0, config.device)
        self._shape_S = torch.zeros(config.slots, dtype=torch.int64, device=config.device)

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
