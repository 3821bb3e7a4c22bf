"""Judge: how good images are that were asked for by concept and style.

Letters: I images, R real images, F features, C classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from hawk.evaluation.encoder import Encoded, Encoder
from hawk.evaluation.frechet import Cloud, frechet_distance
from hawk.evaluation.real_images import RealImages

# Of the mean variance, added to every direction: what makes few images with many features solvable.
SHRINKAGE = 0.1
RIDGE = 0.001
NEAREST = 5


@dataclass(frozen=True, kw_only=True)
class Quality:
    """What some images are worth.

    Attributes:
        frechet: distance to the real images of the same concepts; the smaller the better. It
            falls with the number of images: compare equal ones.
        concept_at_1, concept_at_5: share whose nearest real image, or one of the five nearest,
            shows the concept that was asked for.
        group: share whose nearest real image is of the same kind of thing.
        style: share that a classifier of textures takes for the style that was asked for.
    """

    frechet: float
    concept_at_1: float
    concept_at_5: float
    group: float
    style: float


class Judge:
    """Knows real images of all asked concepts, in other styles than the asked ones.

    Args:
        encoder: of images.
        real: where to look for them.
        asked: what was asked for, an image each; their pixels are the ceiling and the floor.
    """

    def __init__(self, encoder: Encoder, real: RealImages, asked: RealImages) -> None:
        self._encoder, self._asked = encoder, asked
        self._known = real.relatives(asked)
        known = encoder(list(self._known.pixels_IHWC))
        self._cloud = Cloud.of(known.features_IF)
        self._whiten_FF = whitening(known.features_IF, self._known.concepts_I)
        self._directions_RF = self._directions(known)
        self._style = Classifier(known.texture_IB, self._known.styles_I)

    @cached_property
    def ceiling(self) -> Quality:
        """Of the real images of what was asked for: what no model can be expected to pass."""
        return self.quality(list(self._asked.pixels_IHWC), range(len(self._asked)))

    def quality(self, images: Sequence[np.ndarray], asked: Sequence[int]) -> Quality:
        """Judge uint8 images [H, W, 3].

        Args:
            asked: for each image, which of the asked ones it should be.
        """
        encoded = self._encoder(images)
        places = np.asarray(asked, dtype=np.int64)
        concepts_I, groups_I = self._asked.concepts_I[places], self._asked.groups_I[places]
        styles_I = self._asked.styles_I[places]
        near_IR = np.argsort(-self._directions(encoded) @ self._directions_RF.T, axis=1)
        right_IR = self._known.concepts_I[near_IR[:, :NEAREST]] == concepts_I[:, None]
        return Quality(
            frechet=frechet_distance(Cloud.of(encoded.features_IF), self._cloud),
            concept_at_1=float(right_IR[:, 0].mean()),
            concept_at_5=float(right_IR.any(axis=1).mean()),
            group=float((self._known.groups_I[near_IR[:, 0]] == groups_I).mean()),
            style=float((self._style(encoded.texture_IB) == styles_I).mean()),
        )

    def _directions(self, encoded: Encoded) -> np.ndarray:
        """Unit vectors whose products tell how alike two images are."""
        found_IF = encoded.features_IF @ self._whiten_FF
        return found_IF / np.linalg.norm(found_IF, axis=1, keepdims=True)


def whitening(features_IF: np.ndarray, labels_I: np.ndarray) -> np.ndarray:
    """A matrix [F, F] after which images of one label differ by as much in every direction, as in
    Fisher's discriminant: it hides what drawings of one thing do not share."""
    _, label_I = np.unique(labels_I, return_inverse=True)
    counts_C = np.bincount(label_I)
    sums_CF = np.zeros((len(counts_C), features_IF.shape[1]))
    np.add.at(sums_CF, label_I, features_IF)
    within_IF = features_IF - (sums_CF / counts_C[:, None])[label_I]
    covariance_FF = within_IF.T @ within_IF / len(within_IF)
    size = len(covariance_FF)
    floor = SHRINKAGE * np.trace(covariance_FF) / size
    values_F, vectors_FF = np.linalg.eigh(covariance_FF + max(floor, 1e-9) * np.eye(size))
    return vectors_FF / np.sqrt(values_F)


class Classifier:
    """Linear least squares on standardised vectors, one output a class."""

    def __init__(self, vectors_IF: np.ndarray, labels_I: np.ndarray) -> None:
        self._classes_C = np.unique(labels_I)
        self._mean_F, self._scale_F = vectors_IF.mean(0), vectors_IF.std(0) + 1e-6
        x_IF = self._standard(vectors_IF)
        y_IC = (labels_I[:, None] == self._classes_C).astype(float)
        self._bias_C = y_IC.mean(0)
        gram_FF = x_IF.T @ x_IF + RIDGE * len(x_IF) * np.eye(x_IF.shape[1])
        self._weights_FC = np.linalg.solve(gram_FF, x_IF.T @ (y_IC - self._bias_C))

    def __call__(self, vectors_IF: np.ndarray) -> np.ndarray:
        """The label of each vector."""
        scores_IC = self._standard(vectors_IF) @ self._weights_FC + self._bias_C
        return self._classes_C[scores_IC.argmax(axis=1)]

    def _standard(self, vectors_IF: np.ndarray) -> np.ndarray:
        return (vectors_IF - self._mean_F) / self._scale_F
