"""Judge: quality of images whose prompts name a concept and a style."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from hawk.evaluation.encoder import Encoded, Encoder
from hawk.evaluation.frechet import Cloud, frechet_distance
from hawk.evaluation.real_images import RealImages

# Share of the mean variance added to every direction, so that few images suffice.
SHRINKAGE = 0.1
RIDGE = 0.001
NEAREST = 5


@dataclass(frozen=True, kw_only=True)
class Quality:
    """Quality of some images.

    Attributes:
        frechet: Frechet distance to the real images of the same concepts, the smaller the better.
            It falls with the number of images, so only equal numbers compare.
        concept_at_1: Share of images whose nearest real image shows the concept of the prompt.
        concept_at_5: Share of images with such a real image among the five nearest.
        group: Share of images whose nearest real image shows the same kind of thing.
        style: Share of images that a classifier of textures assigns the style of the prompt.
    """

    frechet: float
    concept_at_1: float
    concept_at_5: float
    group: float
    style: float


class Judge:
    """Judge by real images of the prompts' concepts, in other styles than those of the prompts.

    Args:
        encoder: Encoder of images.
        real: All real images.
        asked: Real images of the prompts, one for each; their quality is the best to expect.
    """

    def __init__(self, encoder: Encoder, real: RealImages, asked: RealImages) -> None:
        self._encoder, self._asked = encoder, asked
        self._known = real.relatives(asked)
        known = encoder(list(self._known.pixels_IHWC))
        self._cloud = Cloud.of(known.features_ID)
        self._whiten_DD = whitening(known.features_ID, self._known.concepts_I)
        self._directions_XD = self._directions(known)
        self._style = Classifier(known.texture_ID, self._known.styles_I)

    @cached_property
    def ceiling(self) -> Quality:
        """Quality of the real images of the prompts, which no model can be expected to surpass."""
        return self.quality(list(self._asked.pixels_IHWC), range(len(self._asked)))

    def quality(self, images: Sequence[np.ndarray], asked: Sequence[int]) -> Quality:
        """Quality of some images.

        Args:
            images: Pixels uint8 [H, W, 3].
            asked: For each image, the index of its real image among those of the prompts.
        """
        encoded = self._encoder(images)
        places = np.asarray(asked, dtype=np.int64)
        concepts_I, groups_I = self._asked.concepts_I[places], self._asked.groups_I[places]
        styles_I = self._asked.styles_I[places]
        near_IX = np.argsort(-self._directions(encoded) @ self._directions_XD.T, axis=1)
        right_IX = self._known.concepts_I[near_IX[:, :NEAREST]] == concepts_I[:, None]
        return Quality(
            frechet=frechet_distance(Cloud.of(encoded.features_ID), self._cloud),
            concept_at_1=float(right_IX[:, 0].mean()),
            concept_at_5=float(right_IX.any(axis=1).mean()),
            group=float((self._known.groups_I[near_IX[:, 0]] == groups_I).mean()),
            style=float((self._style(encoded.texture_ID) == styles_I).mean()),
        )

    def _directions(self, encoded: Encoded) -> np.ndarray:
        """Unit vectors whose products are similarities of images."""
        found_ID = encoded.features_ID @ self._whiten_DD
        return found_ID / np.linalg.norm(found_ID, axis=1, keepdims=True)


def whitening(features_ID: np.ndarray, labels_I: np.ndarray) -> np.ndarray:
    """Matrix [D, D] after which images of one label vary equally in every direction, as in Fisher's
    discriminant: it hides what drawings of one thing do not share."""
    _, label_I = np.unique(labels_I, return_inverse=True)
    counts_Y = np.bincount(label_I)
    sums_YD = np.zeros((len(counts_Y), features_ID.shape[1]))
    np.add.at(sums_YD, label_I, features_ID)
    within_ID = features_ID - (sums_YD / counts_Y[:, None])[label_I]
    covariance_DD = within_ID.T @ within_ID / len(within_ID)
    size = len(covariance_DD)
    floor = SHRINKAGE * np.trace(covariance_DD) / size
    values_D, vectors_DD = np.linalg.eigh(covariance_DD + max(floor, 1e-9) * np.eye(size))
    return vectors_DD / np.sqrt(values_D)


class Classifier:
    """Linear least squares on standardised vectors, one output a class."""

    def __init__(self, vectors_ID: np.ndarray, labels_I: np.ndarray) -> None:
        self._classes_Y = np.unique(labels_I)
        self._mean_D, self._scale_D = vectors_ID.mean(0), vectors_ID.std(0) + 1e-6
        x_ID = self._standard(vectors_ID)
        y_IY = (labels_I[:, None] == self._classes_Y).astype(float)
        self._bias_Y = y_IY.mean(0)
        gram_DD = x_ID.T @ x_ID + RIDGE * len(x_ID) * np.eye(x_ID.shape[1])
        self._weights_DY = np.linalg.solve(gram_DD, x_ID.T @ (y_IY - self._bias_Y))

    def __call__(self, vectors_ID: np.ndarray) -> np.ndarray:
        """Label of each vector."""
        scores_IY = self._standard(vectors_ID) @ self._weights_DY + self._bias_Y
        return self._classes_Y[scores_IY.argmax(axis=1)]

    def _standard(self, vectors_ID: np.ndarray) -> np.ndarray:
        return (vectors_ID - self._mean_D) / self._scale_D
