"""Decoder: hidden states are those of transformers' modules, for every kind that families have."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import ChameleonConfig, ChameleonModel, Emu3TextModel, LlamaConfig, LlamaModel
from transformers.models.chameleon.configuration_chameleon import ChameleonVQVAEConfig
from transformers.models.emu3.configuration_emu3 import Emu3TextConfig

from hawk.decoding.cache import Cache, Room
from hawk.decoding.decoder import Decoder
from hawk.decoding.tree import Shapes, Tree
from hawk.targets.llamagen import OUTSIDE, CellCache, GridRotary, LlamaGenModel

CPU = torch.device("cpu")
HIDDEN = 32
LENGTHS = [[6, 2], [3, 4]]  # of the prompts, two branches for each of two images
# Numbers whose square is one on average. Processors add float32 products in different orders:
# 2.9e-6 was seen where another kind of processor has 1.3e-6.
TOLERANCE = 1e-5
SIZES: dict[str, Any] = {
    "vocab_size": 8,
    "hidden_size": HIDDEN,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 0,
    "eos_token_id": 0,
}


def llama(**settings: Any) -> nn.Module:
    return LlamaModel(LlamaConfig(**SIZES | settings))


def chameleon(**settings: Any) -> nn.Module:
    vq = ChameleonVQVAEConfig(
        embed_dim=4, num_embeddings=4, latent_channels=32, resolution=8, base_channels=32,
        channel_multiplier=[1], num_res_blocks=1,
    )  # fmt: skip
    settings = SIZES | {"vq_config": vq, "vocabulary_map": {"<image>": 0}} | settings
    return ChameleonModel(ChameleonConfig(**settings))


def llamagen() -> nn.Module:
    extra = {"grid": 4, "text_tokens": 8, "text_width": 8, "attn_implementation": "sdpa"}
    return LlamaGenModel(LlamaConfig(**SIZES, **extra)).decoder


SCALED = {
    "rope_type": "llama3", "rope_theta": 100.0, "factor": 4.0, "low_freq_factor": 1.0,
    "high_freq_factor": 4.0, "original_max_position_embeddings": 16,
}  # fmt: skip
KINDS: dict[str, Callable[[], nn.Module]] = {
    "llama": llama,
    "llama, wide heads in groups, biases": lambda: llama(
        num_key_value_heads=2, head_dim=16, attention_bias=True, mlp_bias=True
    ),
    "llama, scaled turns": lambda: llama(rope_parameters=SCALED),
    "emu3": lambda: Emu3TextModel(Emu3TextConfig(**SIZES, num_key_value_heads=2)),
    "chameleon": lambda: chameleon(num_key_value_heads=4),
    "chameleon, norms behind": lambda: chameleon(swin_norm=True, num_key_value_heads=2),
    "llamagen": llamagen,
}


@pytest.fixture(params=KINDS)
def theirs(request: pytest.FixtureRequest) -> Any:
    """With norms and biases that are not one and zero."""
    torch.manual_seed(0)
    made = KINDS[request.param]().eval()
    with torch.no_grad():
        for weight in made.parameters():
            weight.add_(torch.randn_like(weight) * 0.1)
    return made


class Rows:
    """What the cache should hold, and what transformers makes of it.

    Attributes:
        held: embeddings [length, D] of each row.
    """

    def __init__(self, theirs: Any, prompts: list[Tensor]) -> None:
        self._theirs, self._prompts, self.held = theirs, prompts, [prompt[:0] for prompt in prompts]

    def after(self, row: int, more: Tensor) -> Tensor:
        """Hidden states [N, D] of more embeddings [N, D] behind a row."""
        whole = torch.cat([self.held[row], more])
        places = torch.arange(len(whole))
        if in_cells(self._theirs):
            places = (places - len(self._prompts[row])).where(
                places >= len(self._prompts[row]), OUTSIDE
            )
        made = self._theirs(
            inputs_embeds=whole[None],
            position_ids=places[None],
            attention_mask=torch.ones(len(whole), len(whole), dtype=torch.bool).tril()[None, None],
            use_cache=False,
        )
        return made.last_hidden_state[0, len(self.held[row]) :]


def in_cells(theirs: Any) -> bool:
    return isinstance(theirs.rotary_emb, GridRotary)


def prefilled(decoder: Decoder, kind: type[Cache], prompts: list[Tensor]) -> tuple[Cache, Tensor]:
    """A cache with the prompts in it, and their hidden states."""
    cache = kind(decoder.layout, slots=2, branches=2, room=Room(prompt_limit=8, image=24))
    begun = cache.begin_prompts(range(2), torch.tensor(LENGTHS))
    return cache, decoder(nn.utils.rnn.pad_sequence(prompts, batch_first=True), *begun, cache)


def tree(parents: list[list[int]]) -> Tree:
    shapes = Shapes(parents, CPU)
    tokens_BN = torch.zeros(2, shapes.nodes, dtype=torch.int64)
    return Tree(shapes=shapes, shape_B=torch.tensor([0, 1]), tokens_BN=tokens_BN)


@torch.no_grad()
def test_prompts_chains_and_trees_have_the_hidden_states_of_transformers(theirs: Any) -> None:
    oracle, decoder = copy.deepcopy(theirs), Decoder(theirs)
    prompts = [torch.randn(length, HIDDEN) for image in LENGTHS for length in image]
    rows = Rows(oracle, prompts)
    cache, hidden_RPD = prefilled(decoder, CellCache if in_cells(theirs) else Cache, prompts)
    for row, prompt in enumerate(prompts):
        near(hidden_RPD[row, : len(prompt)], rows.after(row, prompt))
    rows.held = prompts
    for parents, ends in [
        ([[0, 0, 1, 2]] * 2, [2, 0]),  # a chain, of which a part is kept
        ([[0, 0, 0, 1, 2, 2, 4], [0, 0, 1, 2, 0, 4, 4]], [6, 5]),
        ([[0, 0, 0]] * 2, [0, 0]),
    ]:
        drafts, entries = tree(parents), torch.randn(4, len(parents[0]), HIDDEN)
        hidden_RND = decoder(entries, *cache.place(*cache.begin_tree(drafts)), cache)
        ways = drafts.shapes.path_ZNL
        depths = drafts.shapes.depths_ZN
        for row in range(4):
            for node in range(drafts.shapes.nodes):
                way = ways[row // 2, node, : depths[row // 2, node] + 1]
                near(hidden_RND[row, node], rows.after(row, entries[row, way])[-1])
        counts = [int(depths[image, end]) + 1 for image, end in enumerate(ends)]
        path_BL = ways[[0, 1], ends]
        rows.held = [
            torch.cat([held, entries[row, path_BL[row // 2, : counts[row // 2]]]])
            for row, held in enumerate(rows.held)
        ]
        cache.keep(path_BL, torch.tensor(counts), counts, move=True)


def near(ours: Tensor, wanted: Tensor) -> None:
    assert (ours - wanted).abs().max() < TOLERANCE


@torch.no_grad()
def test_weights_are_held_once_and_transformers_goes_on_to_work(theirs: Any) -> None:
    embeds = torch.randn(1, 5, HIDDEN)
    before = copy.deepcopy(theirs.state_dict())
    wanted = theirs(inputs_embeds=embeds).last_hidden_state
    decoder = Decoder(theirs)
    after = theirs.state_dict()
    assert all(torch.equal(after[name], weight) for name, weight in before.items())
    assert torch.equal(theirs(inputs_embeds=embeds).last_hidden_state, wanted)
    for layer in theirs.layers:
        attention, mlp = layer.self_attn, layer.mlp
        for merged in (
            [attention.q_proj, attention.k_proj, attention.v_proj],
            [mlp.gate_proj, mlp.up_proj],
        ):
            assert len({part.weight.untyped_storage()._cdata for part in merged}) == 1
        attention.v_proj.weight.mul_(2)
        mlp.up_proj.weight.mul_(2)
    prompts = [torch.randn(length, HIDDEN) for image in LENGTHS for length in image]
    _, hidden_RPD = prefilled(decoder, CellCache if in_cells(theirs) else Cache, prompts)
    near(hidden_RPD[0, : len(prompts[0])], Rows(theirs, prompts).after(0, prompts[0]))


@torch.no_grad()
def test_drafts_past_the_last_position_disturb_nobody() -> None:
    """A tree may reach past the image, where the model has no positions left."""
    torch.manual_seed(0)
    theirs: Any = llama(max_position_embeddings=7)
    prompts = [torch.randn(length, HIDDEN) for image in LENGTHS for length in image]
    decoder, rows = Decoder(theirs), Rows(theirs, prompts)
    cache, _ = prefilled(decoder, Cache, prompts)
    entries = torch.randn(4, 5, HIDDEN)
    chain = tree([[0, 0, 1, 2, 3]] * 2)
    hidden_RND = decoder(entries, *cache.place(*cache.begin_tree(chain)), cache)
    rows.held = prompts
    near(hidden_RND[0, :1], rows.after(0, entries[0, :1]))
    near(hidden_RND[1, :5], rows.after(1, entries[1, :5]))


class Adapted(nn.Module):
    """A product with something added to it, as LoRA does."""

    def __init__(self, plain: nn.Linear) -> None:
        super().__init__()
        self._plain = plain

    def forward(self, hidden: Tensor) -> Tensor:
        return self._plain(hidden) + hidden[..., :1]


@torch.no_grad()
def test_products_that_are_no_plain_matrices_stay_as_they_are() -> None:
    torch.manual_seed(0)
    theirs: Any = llama()
    for layer in theirs.layers:
        layer.self_attn.k_proj = Adapted(layer.self_attn.k_proj)
        layer.mlp.up_proj, layer.mlp.down_proj = map(
            Adapted, (layer.mlp.up_proj, layer.mlp.down_proj)
        )
    prompts = [torch.randn(length, HIDDEN) for image in LENGTHS for length in image]
    _, hidden_RPD = prefilled(Decoder(theirs), Cache, prompts)
    near(hidden_RPD[0, : len(prompts[0])], Rows(theirs, prompts).after(0, prompts[0]))
