"""Frechet distance between clouds of vectors (Heusel et al., arXiv 1706.08500, eq. 6)."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Cloud:
    """A normal law fitted to vectors.

    Attributes:
        mean_D: Mean of the vectors.
        root_XD: Matrix A with A'A the covariance of the vectors, with as few rows as it takes.
    """

    mean_D: np.ndarray
    root_XD: np.ndarray

    @classmethod
    def of(cls, vectors_ID: np.ndarray) -> "Cloud":
        """Normal law of some vectors. ValueError for fewer than two of them."""
        if len(vectors_ID) < 2:
            raise ValueError(f"a distance between laws needs 2 images, got {len(vectors_ID)}")
        mean_D = vectors_ID.mean(0)
        root_XD = (vectors_ID - mean_D) / np.sqrt(len(vectors_ID) - 1)
        if len(root_XD) > root_XD.shape[1]:
            root_XD = np.asarray(np.linalg.qr(root_XD, mode="r"))
        return cls(mean_D=mean_D, root_XD=root_XD)


def frechet_distance(a: Cloud, b: Cloud) -> float:
    """Squared distance of the means, plus tr(S + T - 2 (S T)^1/2) of the covariances.

    With S = A'A and T = B'B the trace of the root is the sum of the singular values of A B': no
    root of a matrix that few images leave singular.
    """
    shared = np.linalg.svd(a.root_XD @ b.root_XD.T, compute_uv=False).sum()
    spread = np.square(a.root_XD).sum() + np.square(b.root_XD).sum()
    return float(np.square(a.mean_D - b.mean_D).sum() + spread - 2 * shared)
