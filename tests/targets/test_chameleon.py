"""Anole and Lumina-mGPT: prompts, row ends, conversion, and the decoder for pixels.

Transformers masks image tokens out of the logits of its own Chameleon, so there is no `generate` to
compare with; the reference is its decoder and head, sequence by sequence.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers.models.janus.configuration_janus import JanusVQVAEConfig
from transformers.models.janus.modeling_janus import JanusVQVAEDecoder

from hawk import Request, SamplerConfig
from hawk.targets import load_target
from hawk.targets.chameleon import NEW_LINE, Chameleon, Lumina
from hawk.targets.convert_chameleon import convert_chameleon
from hawk.targets.vq import VQDecoder
from tests.targets import families
from tests.tiny_families import PATCH, save_tiny_chameleon, save_tiny_lumina

CPU = torch.device("cpu")
RESOLUTION = 10  # of Anole; a grid of 5 x 5
SIZE = (64, 32)  # of Lumina; a grid of 8 x 4
PROMPTS = ["a red apple", "the flag of Norway, and a tree"]


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in the layout of transformers, and vqgan.ckpt beside it."""
    path = tmp_path_factory.mktemp("tiny-chameleon")
    save_tiny_chameleon(path / "hf", path / "vqgan.ckpt", resolution=RESOLUTION)
    return path


@pytest.fixture(scope="module")
def anole_folder(published: Path) -> Path:
    out = published / "anole"
    convert_chameleon(
        published / "hf", out, family="chameleon", vqgan=published / "vqgan.ckpt", size=None
    )
    return out


@pytest.fixture(scope="module")
def anole(anole_folder: Path) -> Chameleon:
    loaded = load_target(str(anole_folder), dtype=torch.float32, device=CPU)
    assert type(loaded) is Chameleon
    return loaded


@pytest.fixture(scope="module")
def lumina(published: Path) -> Lumina:
    """From a checkpoint without what the published ones lack."""
    hf, vqgan = published / "lumina-hf", published / "lumina.ckpt"
    save_tiny_lumina(hf, vqgan, resolution=64, levels=[1, 1, 1, 2])
    out = published / "lumina"
    convert_chameleon(hf, out, family="lumina_mgpt", vqgan=vqgan, size=SIZE)
    loaded = load_target(str(out), dtype=torch.float32, device=CPU)
    assert isinstance(loaded, Lumina)
    return loaded


def next_logits(target: Chameleon, request: Request, *, row_end: bool) -> families.NextLogits:
    prompts = target.encode(request.prompt)
    codes = target.model.model.vocabulary_mapping.img2bpe
    image = [codes[code] for code in range(target.vocabulary)]
    line = target.tokenizer.get_vocab()[NEW_LINE]

    def words(ids: Sequence[int], tokens: Sequence[int]) -> list[int]:
        spelled = list(ids)
        for place, token in enumerate(tokens, start=1):
            spelled.append(codes[token])
            if row_end and place % target.grid.width == 0:
                spelled.append(line)
        return spelled

    @torch.inference_mode()
    def laws(tokens: list[int], branches: int) -> torch.Tensor:
        found = []
        for ids in prompts[:branches]:
            hidden = target.model.model(torch.tensor([words(ids, tokens)])).last_hidden_state
            found.append(target.model.lm_head(hidden[0, -1])[image])
        return torch.stack(found)

    return laws


@pytest.mark.parametrize(
    ("guidance", "drafter", "sampler"),
    [
        (1.0, "jacobi", "full"),
        (3.0, "jacobi", "top-k-p"),
        (3.0, "jacobi", "greedy"),
        (3.0, "plain", "full"),
    ],
)
def test_anole_gives_the_tokens_of_the_reference(
    anole: Chameleon, guidance: float, drafter: str, sampler: str
) -> None:
    families.check_exact(
        anole,
        lambda request: next_logits(anole, request, row_end=False),
        families.requests(PROMPTS * 3, guidance, families.SAMPLERS[sampler]),
        drafter=drafter,
        slots=2,
    )


def test_lumina_gives_the_tokens_of_the_reference(lumina: Lumina) -> None:
    families.check_exact(
        lumina,
        lambda request: next_logits(lumina, request, row_end=True),
        families.requests(PROMPTS, 4.0, SamplerConfig()),
        drafter="jacobi",
        slots=2,
    )


@pytest.mark.parametrize("name", ["anole", "lumina"])
def test_every_node_of_a_tree_has_the_law_of_its_way(
    name: str, request: pytest.FixtureRequest
) -> None:
    target = request.getfixturevalue(name)
    families.check_trees(
        target,
        lambda asked: next_logits(target, asked, row_end=name == "lumina"),
        families.requests(PROMPTS, 3.0, SamplerConfig()),
    )


def test_three_branches_of_anole_are_two_where_the_prompt_has_no_image(anole: Chameleon) -> None:
    """Its official guidance: none + image * (images - none) + text * (all - images)."""
    everything, nothing = anole.encode("a red apple")
    images = [word for word in everything if word in nothing]  # BOS, start and tokens of images
    assert images == nothing


def test_prompts_have_the_official_forms(anole: Chameleon, lumina: Lumina) -> None:
    assert [anole.tokenizer.decode(ids) for ids in anole.encode("a red apple")] == [
        "<s>a red apple<reserved08706><racm3:break>",
        "<s><racm3:break>",
    ]
    assert [lumina.tokenizer.decode(ids) for ids in lumina.encode("a red apple")] == [
        "<s>Generate an image of 32x64 according to the following prompt:\na red apple"
        "<reserved08706><racm3:break><reserved08802><reserved08801>",
        "<racm3:break><reserved08802><reserved08801>",
    ]


def test_official_samplers_are_the_defaults(anole: Chameleon, lumina: Lumina) -> None:
    assert (anole.default_guidance, lumina.default_guidance) == (3.0, 4.0)
    assert anole.default_sampler == SamplerConfig(temperature=0.7, top_p=0.9)
    assert lumina.default_sampler == SamplerConfig(top_k=2000)


def test_a_negative_prompt_is_refused(anole: Chameleon) -> None:
    with pytest.raises(ValueError, match=r"reads no negative prompt .* leave it out"):
        anole.encode("a red apple", "blurry")


def test_pixels_have_the_size_of_the_grid(anole: Chameleon) -> None:
    tokens = torch.randint(64, (2, 25), generator=torch.Generator().manual_seed(0))
    pixels = anole.pixels(tokens)
    assert pixels.shape == (2, 5 * PATCH, 5 * PATCH, 3)
    decoded = anole.vq(tokens.view(2, 5, 5)).clamp(-1, 1)
    wanted = ((decoded + 1) * 127.5).round().permute(0, 2, 3, 1)
    assert torch.equal(pixels.float(), wanted)


def test_the_decoder_for_pixels_is_that_of_janus_without_attention_on_the_way_up(
    anole: Chameleon,
) -> None:
    config: Any = anole.model.config.vq_config
    janus = JanusVQVAEDecoder(
        JanusVQVAEConfig(
            latent_channels=config.latent_channels,
            base_channels=config.base_channels,
            channel_multiplier=config.channel_multiplier,
            num_res_blocks=config.num_res_blocks,
        )
    ).eval()
    levels = len(config.channel_multiplier)
    own = {
        name.replace(f"up.{level}.", f"up.{levels - 1 - level}.") if "up." in name else name: weight
        for level in range(levels)
        for name, weight in anole.vq.decoder.state_dict().items()
        if f"up.{level}." in name or ("up." not in name and level == 0)
    }
    off = {name: w * 0 for name, w in janus.state_dict().items() if ".attn.0.proj_out." in name}
    off |= {name: w * 0 for name, w in janus.state_dict().items() if ".attn.1.proj_out." in name}
    missing = janus.load_state_dict(own | off, strict=False)
    assert missing.unexpected_keys == []
    assert all(".attn." in name for name in missing.missing_keys)
    latents = torch.randn(2, config.latent_channels, 3, 3, generator=torch.manual_seed(0))
    with torch.no_grad():
        assert torch.allclose(anole.vq.decoder(latents), janus(latents), atol=1e-4)


def test_the_decoder_for_pixels_is_laid_out_as_the_official_checkpoint() -> None:
    config: Any = type("Config", (), {})()
    config.base_channels, config.channel_multiplier, config.num_res_blocks = 32, [1, 1, 2, 2, 4], 2
    config.attn_resolutions, config.dropout, config.in_channels = None, 0.0, 3
    config.embed_dim, config.latent_channels, config.num_embeddings = 8, 16, 32
    names = VQDecoder(config).state_dict()
    for name in (
        "quantize.embedding.weight",
        "post_quant_conv.bias",
        "decoder.conv_in.weight",
        "decoder.mid.attn_1.proj_out.weight",
        "decoder.mid.block_2.norm1.weight",
        "decoder.up.4.block.2.conv2.weight",
        "decoder.up.3.block.0.nin_shortcut.weight",
        "decoder.up.1.upsample.conv.weight",
        "decoder.norm_out.bias",
        "decoder.conv_out.weight",
    ):
        assert name in names
    assert "decoder.up.0.upsample.conv.weight" not in names
    assert "decoder.up.0.block.3.conv1.weight" not in names


def test_sizes_of_lumina_are_multiples_of_32(published: Path, lumina: Lumina) -> None:
    folder = str(published / "lumina")
    with pytest.raises(ValueError, match="multiples of 32 pixels, got 40 x 32"):
        load_target(folder, dtype=torch.float32, device=CPU, size=(32, 40))
    other = load_target(folder, dtype=torch.float32, device=CPU, size=(32, 32))
    assert (other.grid.height, other.grid.width) == (4, 4)
