"""Split: the layers of a decoder on several devices, where one is too small for them.

All else is on the first device, where passes begin and end: what drafts and verifies needs to know
nothing of the others. They work one after another, so this buys memory and no time.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn


def split(model: nn.Module, decoder: Any, devices: Sequence[torch.device]) -> None:
    """Move the layers of `decoder`, a part of the model, to the devices in equal shares and in
    their order, and all else to the first one."""
    layers = decoder.layers
    decoder.layers = nn.ModuleList()  # the first device may have no room for all of them
    model.to(devices[0])
    decoder.layers = layers
    ferries = {device: Ferry(device) for device in devices}
    for place, layer in enumerate(layers):
        device = devices[place * len(devices) // len(layers)]
        layer.to(device)
        layer.register_forward_pre_hook(ferries[device], with_kwargs=True)
    decoder.norm.register_forward_pre_hook(ferries[devices[0]], with_kwargs=True)


class Ferry:
    """Moves what a module is given to its device; what all layers are given, such as the mask, once
    a pass. A forward pre-hook."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._moved: dict[str, tuple[Tensor, Tensor]] = {}  # by argument: there, and here

    @torch.compiler.disable()  # pyright: ignore[reportUntypedFunctionDecorator]
    def __call__(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return self._all("", args), {name: self._one(name, value) for name, value in kwargs.items()}

    def _all(self, name: str, values: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(self._one(f"{name}.{place}", value) for place, value in enumerate(values))

    def _one(self, name: str, value: Any) -> Any:
        if isinstance(value, tuple):
            return self._all(name, value)
        if not isinstance(value, Tensor) or value.device == self._device:
            return value
        there, here = self._moved.get(name, (None, None))
        if there is not value:
            here = value.to(self._device)
            self._moved[name] = value, here
        return here
