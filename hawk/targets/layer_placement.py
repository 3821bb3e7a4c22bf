"""Placement of a decoder's layers on several devices, where one is too small for them.

All other parts are on the first device, where passes begin and end, so drafting and verification
know nothing of the other devices. Devices work one after another: that saves memory, and no time.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn


def place_layers(model: nn.Module, decoder: Any, devices: Sequence[torch.device]) -> None:
    """Move the layers of `decoder`, a part of the model, to the devices in equal shares and in
    order, and all other parts to the first device."""
    layers = decoder.layers
    decoder.layers = nn.ModuleList()  # the first device may have no room for all of them
    model.to(devices[0])
    decoder.layers = layers
    for place, layer in enumerate(layers):
        layer.to(devices[place * len(devices) // len(layers)])
