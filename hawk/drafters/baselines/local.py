"""local: the ContextNetwork alone, step by step, each step seeing the picks before it.

It reads no law of the target, only tokens and the hidden states of committed cells, so it is the
drafter that may live far from the target.
"""

import torch
from torch import Tensor

from hawk.decoding.drafter import DrafterConfig, Feedback, FeedbackFields
from hawk.decoding.tree import Tree
from hawk.drafters import weights
from hawk.drafters.local_context import LEFT, ContextMemory, ContextNetwork
from hawk.drafters.proposals import MOST_NODES, Proposals


class Local:
    """Drafter that sees committed cells and its own picks."""

    name = "local"
    most_nodes = MOST_NODES
    feedback_fields = FeedbackFields(hidden="committed")

    def __init__(self, config: DrafterConfig) -> None:
        identity, device = config.identity, config.device
        self._network = weights.load(self.name, identity, ContextNetwork, device).folded()
        self._proposals = Proposals(config)
        self._memory = ContextMemory.empty(identity, config.slots, device)

    def draft(self, roots_B: Tensor, nodes: int) -> Tree:
        return self._proposals.draft(roots_B, nodes)

    def join(self, slots: range, feedback: Feedback) -> None:
        self._guess(slice(slots.start, slots.stop), feedback)

    def move(self, source: int, target: int) -> None:
        for part in (self._proposals, self._memory):
            part.move(source, target)

    def observe(self, feedback: Feedback) -> None:
        self._guess(slice(0, len(feedback.steps_B)), feedback)

    def _guess(self, slots: slice, feedback: Feedback) -> None:
        self._memory.put(slots, feedback)
        rows = len(feedback.steps_B)
        near_BJ = self._proposals.ahead_J.new_zeros(rows, len(self._proposals.ahead_J))
        none_BJX = feedback.hidden_BND.new_zeros(*near_BJ.shape, 0)
        context = self._memory.context(slots, feedback.steps_B, none_BJX, near_BJ)
        noise_BJV = self._proposals.noise(feedback)
        scores_BJV = draft_alone(
            self._network, context.line_BX, self._network.encode(context), noise_BJV
        )
        scores_BJV = feedback.law.sampler.filter(scores_BJV)
        self._proposals.offer(slots, [scores_BJV], [scores_BJV + noise_BJV])


def draft_alone(
    network: ContextNetwork, line_BX: Tensor, encoded_BJC: Tensor, noise_BJV: Tensor
) -> Tensor:
    """Scores [B, J, V] of the steps ahead, each given the picks of those before it."""
    scores = []
    for step in range(encoded_BJC.shape[1]):
        scores.append(network(encoded_BJC[:, step : step + 1], line_BX[:, None, -LEFT:]))
        pick_B1 = (scores[-1] + noise_BJV[:, step : step + 1]).argmax(-1)
        line_BX = torch.cat([line_BX, pick_B1], dim=1)
    return torch.cat(scores, dim=1)
