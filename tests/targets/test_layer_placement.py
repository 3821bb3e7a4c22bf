"""Split: layers keep their order and their share, and what they are given follows them.

`meta` stands for a second device: it has no numbers, so that whole passes need a GPU (test_cuda).
"""

from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import LlamaConfig, LlamaModel

from hawk.decoding.cache import Cache, Room
from hawk.decoding.decoder import Decoder
from hawk.decoding.tree import Shapes, Tree
from hawk.devices import resolve_devices
from hawk.targets import load_target, memory_estimate
from hawk.targets.layer_placement import place_layers

CPU, META = torch.device("cpu"), torch.device("meta")


class Stack(nn.Module):
    def __init__(self, layers: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(3, 4)
        self.layers = nn.ModuleList(nn.Linear(4, 4) for _ in range(layers))
        self.norm = nn.LayerNorm(4)


@pytest.mark.parametrize(("layers", "first"), [(1, 1), (2, 1), (5, 3), (8, 4)])
def test_each_device_gets_layers_in_a_row_and_the_first_all_else(layers: int, first: int) -> None:
    decoder = Stack(layers)
    inner = list(decoder.layers)
    place_layers(decoder, decoder, (CPU, META))
    assert list(decoder.layers) == inner
    places = [next(layer.parameters()).device for layer in decoder.layers]
    assert places == [CPU] * first + [META] * (layers - first)
    assert decoder.embed.weight.device == decoder.norm.weight.device == CPU


def test_layers_get_what_they_are_given_on_their_device() -> None:
    config = LlamaConfig(
        vocab_size=1, hidden_size=16, intermediate_size=16, num_hidden_layers=3,
        num_attention_heads=2, pad_token_id=None, bos_token_id=None, eos_token_id=None,
    )  # fmt: skip
    theirs = LlamaModel(config)
    place_layers(theirs, theirs, (CPU, META))
    decoder = Decoder(theirs)
    assert decoder.layout.layer_devices == (CPU, CPU, META)
    given: list[set[torch.device]] = []
    for layer in decoder.layers:
        layer.register_forward_pre_hook(lambda _, args: given.append({x.device for x in args}))
    cache = Cache(decoder.layout, slots=1, branches=1, room=Room(prompt_limit=2, image=2))
    begun = cache.begin_prompts(range(1), torch.tensor([[2]]))
    with torch.inference_mode(), pytest.raises(NotImplementedError, match="meta tensor"):
        decoder(torch.ones(1, 2, 16), *begun, cache)  # what leaves the last layer has no numbers
    assert given == [{CPU}, {CPU}, {META}]
    cache.place(*cache.begin_tree(chain(2)))
    cache.keep(torch.tensor([[0, 1]]), torch.tensor([2]), [2], move=True)
    cache.move_slot(0, 0)


def chain(nodes: int) -> Tree:
    return Tree(
        shapes=Shapes.chain(nodes - 1, CPU),
        shape_B=torch.zeros(1, dtype=torch.int64),
        tokens_BN=torch.zeros(1, nodes, dtype=torch.int64),
    )


def test_a_list_of_devices_needs_each_of_them() -> None:
    assert resolve_devices("cpu,meta") == (CPU, META)
    with pytest.raises(ValueError, match="no device 'warp' here"):
        resolve_devices("cpu,warp")


def test_free_memory_is_that_of_all_devices(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory_estimate, "free_bytes", lambda _: 1000)
    with pytest.raises(ValueError, match=r"and 0.0 GiB are free on cpu and meta: use"):
        load_target(str(tiny_folder), dtype=torch.float32, device=CPU, others=[META])
