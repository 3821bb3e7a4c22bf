"""Split: layers keep their order and their share, and what they are given follows them.

`meta` stands for a second device: it has no numbers, so that whole passes need a GPU (test_cuda).
"""

from pathlib import Path

import pytest
import torch
from torch import nn

from hawk.cache import Cache, Layout
from hawk.devices import resolve_devices
from hawk.targets import load_target, memory
from hawk.targets.split import Ferry, split
from hawk.tree import Shapes, Tree

CPU, META = torch.device("cpu"), torch.device("meta")


class Decoder(nn.Module):
    def __init__(self, layers: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(3, 4)
        self.layers = nn.ModuleList(nn.Linear(4, 4) for _ in range(layers))
        self.norm = nn.LayerNorm(4)


@pytest.mark.parametrize(("layers", "first"), [(1, 1), (2, 1), (5, 3), (8, 4)])
def test_each_device_gets_layers_in_a_row_and_the_first_all_else(layers: int, first: int) -> None:
    decoder = Decoder(layers)
    inner = list(decoder.layers)
    split(decoder, decoder, (CPU, META))
    assert list(decoder.layers) == inner
    places = [next(layer.parameters()).device for layer in decoder.layers]
    assert places == [CPU] * first + [META] * (layers - first)
    assert decoder.embed.weight.device == decoder.norm.weight.device == CPU


def test_layers_get_what_they_are_given_on_their_device() -> None:
    decoder = Decoder(2)
    split(decoder, decoder, (CPU, META))
    first = decoder.layers[0](torch.ones(1, 4))
    assert first.device == CPU
    assert decoder.layers[1](first).device == META


def test_what_all_layers_are_given_is_moved_once_a_pass() -> None:
    ferry, layer = Ferry(META), nn.Identity()
    mask, turn = torch.ones(2), torch.ones(3)
    _, once = ferry(layer, (), {"mask": mask, "turns": (turn, turn + 1), "cache": None})
    _, twice = ferry(layer, (), {"mask": mask, "turns": (turn, turn + 1), "cache": None})
    assert once["mask"].device == once["turns"][0].device == META
    assert twice["mask"] is once["mask"]
    assert twice["turns"][0] is once["turns"][0]
    assert once["cache"] is None
    _, later = ferry(layer, (), {"mask": torch.ones(5)})
    assert later["mask"].shape == (5,)


def test_keys_and_values_are_where_their_layer_is() -> None:
    layout = Layout(
        layers=3, heads=1, head_size=2, dtype=torch.float32, device=CPU,
        layer_devices=(CPU, CPU, META),
    )  # fmt: skip
    cache = Cache(layout, slots=1, branches=1, capacity=8)
    assert [memory.device for memory in cache._layers] == [CPU, CPU, META]
    assert cache.device == CPU
    cache.begin_prompts([0], torch.tensor([[2]]))
    states = torch.ones(1, 1, 2, 2)
    assert cache.update(states, states, 1)[0].device == CPU
    assert cache.update(states.to(META), states.to(META), 2)[0].device == META
    chain = Shapes.chain(1, CPU)
    zeros_B = torch.zeros(1, dtype=torch.int64)
    tree = Tree(shapes=chain, shape_B=zeros_B, tokens_BN=torch.zeros(1, 2, dtype=torch.int64))
    cache.place(*cache.begin_tree(tree))
    assert cache.update(states, states, 0)[0].device == CPU
    assert cache.update(states.to(META), states.to(META), 2)[1].device == META
    cache.keep(torch.tensor([[0, 1]]), [2], move=True)


def test_a_list_of_devices_needs_each_of_them() -> None:
    assert resolve_devices("cpu,meta") == (CPU, META)
    with pytest.raises(ValueError, match="no device 'warp' here"):
        resolve_devices("cpu,warp")


def test_free_memory_is_that_of_all_devices(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "free_bytes", lambda _: 1000)
    with pytest.raises(ValueError, match=r"and 0.0 GiB are free on cpu and meta: use"):
        load_target(str(tiny_folder), dtype=torch.float32, device=CPU, others=[META])
