"""hawk: the target's own stale laws, corrected by what is known around each cell.

Three sources are fused log-linearly, with learned weights: the target's law at the nodes that the
last pass did not accept, its law of the cell above, and a `ContextNetwork`. The network needs the
tokens to the left, which are guesses beyond the next step: what the laws alone say under the noise,
or its own picks of a round before. All steps ahead are one small batch.
"""

import torch
from torch import Tensor

from hawk.decoding.drafter import DrafterConfig, Feedback, FeedbackFields
from hawk.decoding.tree import Tree
from hawk.drafters import weights
from hawk.drafters.local_context import ContextMemory, ContextNetwork, LocalContext, fuse
from hawk.drafters.proposals import MOST_NODES, STEPS, Proposals, at_nodes, committed
from hawk.drafters.ring_buffer import RingBuffer

# A second round helps little (0.519 against 0.529 of the true tokens come first, held-out images of
# `emoji`), and it is paid for in every pass; training does two, as its picks are better context.
ROUNDS = 1


class Hawk:
    """Drafter that corrects the window of `jacobi` by a small network."""

    name = "hawk"
    most_nodes = MOST_NODES
    feedback_fields = FeedbackFields(hidden="all", laws=True)

    def __init__(self, config: DrafterConfig) -> None:
        identity, slots, device = config.identity, config.slots, config.device
        self._network = weights.load(self.name, identity, ContextNetwork, device).folded()
        self._width = identity.grid.width
        self._proposals = Proposals(config)
        # Laws of the last row, and of the steps that one pass reaches beyond it.
        length = self._width + STEPS + 1
        self._laws = RingBuffer(torch.zeros(slots, length, identity.vocabulary, device=device))
        self._memory = ContextMemory.empty(identity, slots, device)

    def draft(self, roots_B: Tensor, nodes: int) -> Tree:
        return self._proposals.draft(roots_B, nodes)

    def join(self, slots: range, feedback: Feedback) -> None:
        self._guess(slice(slots.start, slots.stop), feedback, *self._proposals.open(len(slots)))

    def move(self, source: int, target: int) -> None:
        for part in (self._proposals, self._laws, self._memory):
            part.move(source, target)

    def observe(self, feedback: Feedback) -> None:
        rows = slice(0, len(feedback.steps_B))
        self._guess(rows, feedback, *self._proposals.settle(feedback))

    def _guess(self, slots: slice, feedback: Feedback, source_BJ: Tensor, short_BJ: Tensor) -> None:
        unfiltered_BNV = feedback.law.unfiltered_BNV
        self._laws.put(slots, *committed(feedback, unfiltered_BNV))
        self._memory.put(slots, feedback)
        noise_BJV = self._proposals.noise(feedback)
        laws = (
            at_nodes(unfiltered_BNV, source_BJ),
            *self._above(slots, feedback),
            short_BJ,
        )
        stale_BJX = at_nodes(feedback.hidden_BND, source_BJ)
        context = self._memory.context(slots, feedback.steps_B, stale_BJX, short_BJ)
        encoded_BJC = self._network.encode(context)
        *_, scores_BJV = refine(self._network, context, encoded_BJC, laws, noise_BJV, rounds=ROUNDS)
        scores_BJV = feedback.law.sampler.filter(scores_BJV)
        self._proposals.offer(slots, [scores_BJV], [scores_BJV + noise_BJV])

    def _above(self, slots: slice, feedback: Feedback) -> tuple[Tensor, Tensor]:
        """Laws [B, J, V] of the cells above the steps ahead, and bool [B, J], True where known."""
        steps_BJ = feedback.steps_B[:, None] + self._proposals.ahead_J - self._width
        known_BJ = (steps_BJ >= 0) & (steps_BJ <= feedback.steps_B[:, None])
        return self._laws.at(slots, steps_BJ), known_BJ


def refine(
    network: ContextNetwork,
    context: LocalContext,
    encoded_BJC: Tensor,
    laws: tuple[Tensor, Tensor, Tensor, Tensor],
    noise_BJV: Tensor,
    *,
    rounds: int,
) -> list[Tensor]:
    """Scores [B, J, V] of the laws alone, then of each round.

    Args:
        network: Corrects the laws.
        context: What is known around the steps ahead.
        encoded_BJC: The context as the network encodes it.
        laws: Arguments of `fuse` behind its weights.
        noise_BJV: Noise of the steps ahead. The next round sees the picks under it, unfiltered: a
            filter costs more than it helps (3.32 tokens a forward without, 3.34 with; 48 images of
            `emoji`, trees of 8 nodes, guidance 3, top-p 0.85).
        rounds: Number of passes through the network.
    """
    fused_BJV = fuse(network.beside, *laws)
    scores = [fuse(network.alone, *laws)]
    for _ in range(rounds):
        left_BJX = context.left((scores[-1] + noise_BJV).argmax(-1))
        scores.append(network(encoded_BJC, left_BJX).add_(fused_BJV))
    return scores
