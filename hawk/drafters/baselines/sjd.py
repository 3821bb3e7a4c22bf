"""sjd and scd: speculative Jacobi decoding as published, to measure others beside it.

SJD (Teng et al., arXiv 2410.01699): a window of the next tokens is drafted by drawing each from the
law that the target had for it in the pass before, and tested by p / q. Every pass draws afresh. SCD
(So et al., arXiv 2510.24211): the draws of a step share their noise from pass to pass, so that a
token stays where its law did not move much. Both are meant for the rule `residual`; their scripts
have windows of 16, 32 and 64.
"""

import torch
from torch import Tensor

from hawk.decoding.drafter import Feedback
from hawk.decoding.grid import Identity
from hawk.drafters.draft_sampler import DraftSampler
from hawk.drafters.jacobi import Jacobi

FRESH_BIT = 40  # of a seed; above it the pass is written in, of which there are few


class Scd(Jacobi):
    """Draws that share their noise; a chain."""

    name = "scd"

    def __init__(
        self,
        identity: Identity,
        *,
        slots: int,
        guesses: DraftSampler,
        device: torch.device,
        branching: bool = False,
    ) -> None:
        super().__init__(identity, slots=slots, guesses=guesses, device=device, branching=False)


class Sjd(Scd):
    """Draws anew in every pass."""

    name = "sjd"

    def seeds(self, feedback: Feedback) -> Tensor:
        return feedback.seeds_B ^ ((feedback.steps_B + 1) << FRESH_BIT)
