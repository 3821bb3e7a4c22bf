"""Confidence: how often guesses turn out right, learned while they are made.

A guess is filed under how it was made (its kind) and by how much the best guess of its step leads
the second under the noise: a lead is what a change of context has to overcome.

Letters: B rows, J steps ahead, M guesses a step, C kinds x leads.
"""

import torch
from torch import Tensor

LEADS = (0.1, 0.25, 0.5, 1.0, 2.0, 4.0)  # bucket borders, nats
PRIOR_WEIGHT = 6.0  # observations that the prior counts for
MEMORY = 4096.0  # observations of one bucket after which old ones fade


class Confidence:
    """Running hit rates.

    Args:
        prior_KLM: rates of every kind, lead bucket and rank to start from.
    """

    def __init__(self, prior_KLM: Tensor) -> None:
        device = prior_KLM.device
        self._borders = torch.tensor(LEADS, device=device)
        self._leads = prior_KLM.shape[1]
        self._hits_CM = prior_KLM.flatten(0, 1) * PRIOR_WEIGHT
        self._seen_C1 = torch.full((len(self._hits_CM), 1), PRIOR_WEIGHT, device=device)

    def file(self, kind_BJ: Tensor, lead_BJ: Tensor) -> Tensor:
        """Bucket of each step's guesses, int64 [B, J]."""
        return kind_BJ * self._leads + torch.bucketize(lead_BJ, self._borders)

    def rates(self, bucket_BJ: Tensor) -> Tensor:
        """Hit rates [B, J, M]."""
        return (self._hits_CM / self._seen_C1)[bucket_BJ]

    def add(self, bucket_BJ: Tensor, hit_BJM: Tensor, known_BJ: Tensor) -> None:
        """Count outcomes where `known_BJ`: the step was committed after a right way to it."""
        where = bucket_BJ.flatten()
        known = known_BJ.flatten()[:, None].float()
        self._hits_CM.index_add_(0, where, hit_BJM.flatten(0, 1) * known)
        self._seen_C1.index_add_(0, where, known)
        fade = (MEMORY / self._seen_C1).clamp(max=1.0)
        self._hits_CM *= fade
        self._seen_C1 *= fade
