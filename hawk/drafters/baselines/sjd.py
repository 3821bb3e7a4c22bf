"""sjd and scd: speculative Jacobi decoding as published, to measure others beside it.

SJD (Teng et al., arXiv 2410.01699): a window of the next tokens is drafted by drawing each from the
law that the target had for it in the pass before, and tested by p / q. Every pass draws afresh. SCD
(So et al., arXiv 2510.24211): the draws of a step share their noise from pass to pass, so that a
token stays where its law did not move much. Both are meant for the rule `residual`; their scripts
have windows of 16, 32 and 64.
"""

from dataclasses import replace

from torch import Tensor

from hawk.decoding.drafter import DrafterConfig, Feedback
from hawk.drafters.jacobi import Jacobi

PASS_BIT = 40  # lowest bit of a seed that holds the number of the pass


class Scd(Jacobi):
    """Chains whose draws of a step share their noise."""

    name = "scd"

    def __init__(self, config: DrafterConfig) -> None:
        super().__init__(replace(config, branching=False))


class Sjd(Scd):
    """Chains that are drawn anew in every pass."""

    name = "sjd"

    def seeds(self, feedback: Feedback) -> Tensor:
        return feedback.seeds_B ^ ((feedback.steps_B + 1) << PASS_BIT)
