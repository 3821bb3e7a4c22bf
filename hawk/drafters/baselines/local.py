"""local: the ContextNetwork alone, step by step, each step seeing the picks before it.

It needs no law of the target, only tokens and the hidden states of committed cells, so it is the
drafter that may live far from the target.
"""

import torch
from torch import Tensor

from hawk.decoding.drafter import Feedback, FeedbackFields
from hawk.decoding.grid import Identity
from hawk.decoding.tree import Tree
from hawk.drafters import weights
from hawk.drafters.draft_sampler import DraftSampler
from hawk.drafters.local_context import LEFT, ContextMemory, ContextNetwork
from hawk.drafters.proposals import MOST_NODES, Proposals


class Local:
    """See `Drafter`."""

    name = "local"
    most_nodes = MOST_NODES
    feedback_fields = FeedbackFields(hidden="committed")

    def __init__(
        self,
        identity: Identity,
        *,
        slots: int,
        guesses: DraftSampler,
        device: torch.device,
        branching: bool = True,
    ) -> None:
        self._window = weights.load(self.name, identity, ContextNetwork, device).folded()
        self._pool = Proposals(identity, slots, guesses, device, branching=branching)
        self._around = ContextMemory.empty(identity, slots, device)

    def draft(self, roots_B: Tensor, nodes: int) -> Tree:
        return self._pool.draft(roots_B, nodes)

    def join(self, slots: range, feedback: Feedback) -> None:
        self._guess(slice(slots.start, slots.stop), feedback)

    def move(self, source: int, target: int) -> None:
        for part in (self._pool, self._around):
            part.move(source, target)

    def observe(self, feedback: Feedback) -> None:
        self._guess(slice(0, len(feedback.steps_B)), feedback)

    def _guess(self, slots: slice, feedback: Feedback) -> None:
        self._around.put(slots, feedback)
        rows = len(feedback.steps_B)
        near_BJ = self._pool.ahead_J.new_zeros(rows, len(self._pool.ahead_J))
        none_BJX = feedback.hidden_BND.new_zeros(*near_BJ.shape, 0)
        scene = self._around.scene(slots, feedback.steps_B, none_BJX, near_BJ)
        noise_BJV = self._pool.noise(feedback)
        scores_BJV = draft_alone(
            self._window, scene.line_BL, self._window.context(scene), noise_BJV
        )
        scores_BJV = feedback.law.sampler.filter(scores_BJV)
        self._pool.offer(slots, [scores_BJV], [scores_BJV + noise_BJV])


def draft_alone(
    window: ContextNetwork, line_BL: Tensor, context_BJC: Tensor, noise_BJV: Tensor
) -> Tensor:
    """Scores of the steps ahead [B, J, V], each given the picks of those before it."""
    scores = []
    for step in range(context_BJC.shape[1]):
        scores.append(window(context_BJC[:, step : step + 1], line_BL[:, None, -LEFT:]))
        pick_B1 = (scores[-1] + noise_BJV[:, step : step + 1]).argmax(-1)
        line_BL = torch.cat([line_BL, pick_B1], dim=1)
    return torch.cat(scores, dim=1)
