"""hawk: the target's own stale laws, corrected by what is known around each cell.

Three sources are fused log-linearly, with learned weights: the target's law at the nodes that the
last pass did not accept, its law of the cell above, and a `ContextNetwork`. The network needs the
tokens to the left, which are guesses beyond the next step: what the laws alone say under the noise,
or its own picks of a round before. All steps ahead are one small batch.
"""

import torch
from torch import Tensor

from hawk.decoding.drafter import Feedback, FeedbackFields
from hawk.decoding.grid import Identity
from hawk.decoding.tree import Tree
from hawk.drafters import weights
from hawk.drafters.draft_sampler import DraftSampler
from hawk.drafters.local_context import ContextMemory, ContextNetwork, LocalContext, fuse
from hawk.drafters.proposals import MOST_NODES, STEPS, Proposals, at_nodes, committed
from hawk.drafters.ring_buffer import RingBuffer

# A second round helps little (0.519 against 0.529 of the true tokens come first, held-out images of
# `emoji`), and it is paid for in every pass; training does two, as its picks are better context.
ROUNDS = 1


class Hawk:
    """See `Drafter`."""

    name = "hawk"
    most_nodes = MOST_NODES
    feedback_fields = FeedbackFields(hidden="all", laws=True)

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
        self._width = identity.grid.width
        self._pool = Proposals(identity, slots, guesses, device, branching=branching)
        # The laws of the last row, and of what one pass reaches beyond it.
        length = self._width + STEPS + 1
        self._laws = RingBuffer(torch.zeros(slots, length, identity.vocabulary, device=device))
        self._around = ContextMemory.empty(identity, slots, device)

    def draft(self, roots_B: Tensor, nodes: int) -> Tree:
        return self._pool.draft(roots_B, nodes)

    def join(self, slots: range, feedback: Feedback) -> None:
        self._guess(slice(slots.start, slots.stop), feedback, *self._pool.open(len(slots)))

    def move(self, source: int, target: int) -> None:
        for part in (self._pool, self._laws, self._around):
            part.move(source, target)

    def observe(self, feedback: Feedback) -> None:
        rows = slice(0, len(feedback.steps_B))
        self._guess(rows, feedback, *self._pool.settle(feedback))

    def _guess(self, slots: slice, feedback: Feedback, source_BJ: Tensor, short_BJ: Tensor) -> None:
        unfiltered_BNV = feedback.law.unfiltered_BNV
        self._laws.put(slots, *committed(feedback, unfiltered_BNV))
        self._around.put(slots, feedback)
        window, noise_BJV = self._window, self._pool.noise(feedback)
        laws = (
            at_nodes(unfiltered_BNV, source_BJ),
            *self._above(slots, feedback),
            short_BJ,
        )
        stale_BJX = at_nodes(feedback.hidden_BND, source_BJ)
        scene = self._around.scene(slots, feedback.steps_B, stale_BJX, short_BJ)
        *_, scores_BJV = refine(
            window, scene, window.context(scene), laws, noise_BJV, rounds=ROUNDS
        )
        scores_BJV = feedback.law.sampler.filter(scores_BJV)
        self._pool.offer(slots, [scores_BJV], [scores_BJV + noise_BJV])

    def _above(self, slots: slice, feedback: Feedback) -> tuple[Tensor, Tensor]:
        """The laws of the cells above the steps ahead [B, J, V], and whether they are there."""
        steps_BJ = feedback.steps_B[:, None] + self._pool.ahead_J - self._width
        known_BJ = (steps_BJ >= 0) & (steps_BJ <= feedback.steps_B[:, None])
        return self._laws.at(slots, steps_BJ), known_BJ


def refine(
    window: ContextNetwork,
    scene: LocalContext,
    context_BJC: Tensor,
    laws: tuple[Tensor, Tensor, Tensor, Tensor],
    noise_BJV: Tensor,
    *,
    rounds: int,
) -> list[Tensor]:
    """Scores [B, J, V] of the laws alone, then of each round.

    Args:
        context_BJC: the window's, of the scene.
        laws: stale laws, laws above, whether those are known, shortness; as `fuse` takes them.
        noise_BJV: of the steps ahead. What it picks is context for the next round: to filter it
            first costs more than it helps: 3.32 tokens a forward without, 3.34 with (48 images of
            `emoji`, trees of 8 nodes, guidance 3, top-p 0.85).
        rounds: of the window.
    """
    beside_BJV = fuse(window.beside, *laws)
    scores = [fuse(window.alone, *laws)]
    for _ in range(rounds):
        left_BJL = scene.left((scores[-1] + noise_BJV).argmax(-1))
        scores.append(window(context_BJC, left_BJL).add_(beside_BJV))
    return scores
