"""Distillation: the loss of a drafter, from the target's laws cut to their likeliest tokens."""

import torch
from torch import Tensor

TRUTH = 0.3  # weight of the true token in the loss; the rest is the target's whole law
TOPS = (1, 2, 4, 8)


def dense(kept_K: Tensor, ids_K: Tensor, vocabulary: int) -> Tensor:
    """Log-probabilities [..., V]; the mass that was cut off is spread evenly over the rest."""
    kept = kept_K.float()
    rest = (1 - kept.exp().sum(-1, keepdim=True)).clamp(min=1e-5)
    rest = (rest / max(vocabulary - kept.shape[-1], 1)).log()
    return rest.expand(*kept.shape[:-1], vocabulary).scatter(-1, ids_K.long(), kept)


def cross_entropy(
    scores_BJV: Tensor, law_BJV: Tensor, truth_BJ: Tensor, there_BJ: Tensor
) -> Tensor:
    """Mean nats over the steps inside the image, against the target's law and its pick.

    The law matters: under shared noise a draft hits if its law is close, whatever was picked.
    """
    scores = scores_BJV.log_softmax(-1)
    truth_BJ = truth_BJ.expand(scores.shape[:2])
    pick = scores.gather(-1, truth_BJ[..., None]).squeeze(-1)
    soft = (law_BJV.exp() * scores).sum(-1)
    loss_BJ = -(TRUTH * pick + (1 - TRUTH) * soft)
    return (loss_BJ * there_BJ).sum() / there_BJ.sum()


def hits(noisy_BJV: Tensor, truth_BJ: Tensor) -> Tensor:
    """bool [B, J, 4], True where the truth is among the best 1, 2, 4, 8 scores under the noise;
    False where its score is -inf."""
    truth_BJ = truth_BJ.expand(noisy_BJV.shape[:2])
    own_BJ1 = noisy_BJV.gather(-1, truth_BJ[..., None])
    ahead_BJ1 = (noisy_BJV > own_BJ1).sum(-1, keepdim=True)
    return (ahead_BJ1 < torch.tensor(TOPS, device=noisy_BJV.device)) & own_BJ1.isfinite()
