"""Catalogue: what it says is what the code does, where that can be checked without a download."""

import io
import json
import math
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from rich.console import Console
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers.models.chameleon.configuration_chameleon import ChameleonVQVAEConfig
from transformers.models.emu3.configuration_emu3 import Emu3VQVAEConfig
from transformers.models.emu3.modeling_emu3 import Emu3VQVAE
from transformers.models.janus.configuration_janus import JanusVQVAEConfig
from transformers.models.janus.modeling_janus import JanusVQVAE

from hawk.targets import EMBEDDED, FAMILIES, catalogue, chameleon, emu3, load_target
from hawk.targets.emu3_decoder import decode_image
from hawk.targets.janus import Janus
from hawk.targets.vq import VQDecoder


def entry(name: str) -> catalogue.CatalogueEntry:
    return next(found for found in catalogue.CATALOGUE if found.name == name)


def test_every_family_is_in_it() -> None:
    assert {entry.family for entry in catalogue.CATALOGUE} == set(FAMILIES)


def test_only_the_embedded_model_was_run_with_its_weights() -> None:
    tried = {entry.name for entry in catalogue.CATALOGUE if entry.tried == catalogue.REAL}
    assert tried == {"emoji"}


def test_default_sizes_are_those_of_the_families() -> None:
    assert entry("Emu3-Gen 8B").pixels == emu3.SIZE
    assert entry("Lumina-mGPT 7B").pixels == chameleon.LUMINA_SIZE


def test_the_embedded_model_is_as_described() -> None:
    described = entry("emoji")
    target = load_target("emoji", dtype=torch.float32, device=torch.device("cpu"))
    assert isinstance(target, Janus)
    assert (target.grid.height, target.grid.width) == described.grid
    assert target.default_guidance == described.guidance
    assert target.default_sampler == described.sampler
    layout = target.layout
    assert (layout.layers, layout.heads, layout.head_size) == (
        described.layers,
        described.heads,
        described.head_size,
    )
    weights = [*target.model.parameters(), target.embeddings_VX]
    tokenizer = list(target.model.model.vqmodel.parameters())
    numbers = [sum(weight.numel() for weight in some) for some in (weights, tokenizer)]
    assert described.billions == pytest.approx((numbers[0] - numbers[1]) / 1e9, rel=1e-3)
    assert described.tokenizer_millions == pytest.approx(numbers[1] / 1e6, rel=1e-3)
    config = json.loads((EMBEDDED["emoji"] / "config.json").read_text())
    assert Janus.canvas(config, None) == (described.channels, math.prod(described.pixels))


class LiveBytes(TorchDispatchMode):
    """Bytes of all tensors that are alive at a time while it is on, views aside; their most."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        self._seen: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if (
                isinstance(tensor, Tensor)
                and not tensor._is_view()
                and id(tensor) not in self._seen
            ):
                self._seen.add(id(tensor))
                self.now += tensor.untyped_storage().nbytes()
                weakref.finalize(tensor, self._gone, id(tensor), tensor.untyped_storage().nbytes())
        self.most = max(self.most, self.now)
        return made

    def _gone(self, number: int, count: int) -> None:
        self._seen.discard(number)
        self.now -= count


def decoder(name: str) -> Callable[[Tensor], Tensor]:
    """Of pixels from codes, by the published configuration, which is transformers' default."""
    described = entry(name)
    if described.family in ("janus", "llamagen"):
        vq: Any = JanusVQVAE(JanusVQVAEConfig(num_patches=described.grid[0]))
        return lambda codes: vq.decode(codes.flatten(1))
    if described.family == "emu3":
        return partial(decode_image, Emu3VQVAE(Emu3VQVAEConfig()).eval())
    return VQDecoder(ChameleonVQVAEConfig())


@pytest.mark.parametrize("name", [entry.name for entry in catalogue.CATALOGUE[1:]])
def test_decoding_takes_what_is_told(name: str) -> None:
    """Without any numbers, on the meta device."""
    described, live = entry(name), LiveBytes()
    with torch.device("meta"), torch.no_grad():
        decode = decoder(name)
        with live:
            pixels = decode(torch.zeros(1, *described.grid, dtype=torch.int64))
    assert tuple(pixels.shape[-2:]) == described.pixels
    assert live.most / catalogue.GIB == pytest.approx(described.decoding_gib, rel=0.02)


def test_a_card_of_24_gb_is_enough_for_all_but_emu3() -> None:
    """Of 24 GB some 23.5 GiB are free; README and docs say so."""
    fits = {entry.name: entry.peak_gib(1) < 23.5 for entry in catalogue.CATALOGUE}
    assert [name for name, enough in fits.items() if not enough] == ["Emu3-Gen 8B"]


def test_ids_are_shown_whole() -> None:
    shown = Console(width=160, record=True, file=io.StringIO())
    shown.print(catalogue.table())
    text = shown.export_text()
    assert all(entry.checkpoint in text for entry in catalogue.CATALOGUE)


def test_the_report_has_a_line_for_each_model() -> None:
    report = catalogue.report()
    assert len(report) == catalogue.table().row_count == len(catalogue.CATALOGUE)
    anole = next(line for line in report if line["name"] == "Anole 7B")
    assert (anole["guidance"], anole["temperature"], anole["top_p"]) == (3.0, 0.7, 0.9)
    assert anole["convert"] == "anole"
    assert anole["peak_gib"]["8"] > anole["peak_gib"]["1"] > anole["weights_gib"]
