"""Frechet distance between clouds of vectors (Heusel et al., arXiv 1706.08500, eq. 6).

Letters: I images, F features.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Cloud:
    """A normal law fitted to vectors.

    Attributes:
        mean_F: their mean.
        root_XF: a matrix A with A'A their covariance, of as few rows as there are.
    """

    mean_F: np.ndarray
    root_XF: np.ndarray

    @classmethod
    def of(cls, vectors_IF: np.ndarray) -> "Cloud":
        """ValueError for fewer than two vectors."""
        if len(vectors_IF) < 2:
            raise ValueError(f"a distance between laws needs 2 images, got {len(vectors_IF)}")
        mean_F = vectors_IF.mean(0)
        root_XF = (vectors_IF - mean_F) / np.sqrt(len(vectors_IF) - 1)
        if len(root_XF) > root_XF.shape[1]:
            root_XF = np.asarray(np.linalg.qr(root_XF, mode="r"))
        return cls(mean_F=mean_F, root_XF=root_XF)


def frechet_distance(a: Cloud, b: Cloud) -> float:
    """Squared distance of the means, plus tr(S + T - 2 (S T)^1/2) of the covariances.

    With S = A'A and T = B'B the trace of the root is the sum of the singular values of A B': no
    root of a matrix that few images leave singular.
    """
    shared = np.linalg.svd(a.root_XF @ b.root_XF.T, compute_uv=False).sum()
    spread = np.square(a.root_XF).sum() + np.square(b.root_XF).sum()
    return float(np.square(a.mean_F - b.mean_F).sum() + spread - 2 * shared)
