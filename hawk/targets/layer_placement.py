"""Split: the layers of a decoder on several devices, where one is too small for them.

All else is on the first device, where passes begin and end: what drafts and verifies needs to know
nothing of the others. They work one after another, so this buys memory and no time.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn


def place_layers(model: nn.Module, decoder: Any, devices: Sequence[torch.device]) -> None:
    """Move the layers of `decoder`, a part of the model, to the devices in equal shares and in
    their order, and all else to the first one."""
    layers = decoder.layers
    decoder.layers = nn.ModuleList()  # the first device may have no room for all of them
    model.to(devices[0])
    decoder.layers = layers
    for place, layer in enumerate(layers):
        layer.to(devices[place * len(devices) // len(layers)])
