"""Checkpoints of every family, small enough to run thousands of passes in a test.

Random weights; the scales make laws that depend on their context and are neither flat nor sharp, so
that drafts are accepted sometimes.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from tokenizers.processors import TemplateProcessing
from transformers import (
    ChameleonConfig,
    ChameleonForConditionalGeneration,
    Emu3Config,
    Emu3ForConditionalGeneration,
    PreTrainedTokenizerFast,
    T5Config,
    T5EncoderModel,
)
from transformers.models.chameleon.configuration_chameleon import ChameleonVQVAEConfig
from transformers.models.emu3.configuration_emu3 import Emu3TextConfig, Emu3VQVAEConfig
from transformers.models.janus.configuration_janus import JanusVQVAEConfig
from transformers.models.janus.modeling_janus import JanusVQVAE

from hawk.targets import chameleon, emu3
from hawk.targets.vq import VQDecoder
from hawk.targets.weight_shapes import TEXT_FOLDER

CODES = 64  # image vocabulary
HIDDEN = 64
PATCH = 2  # pixels a cell
GRID, LAYERS, WIDTH, HEAD, TEXT_TOKENS, TEXT_WIDTH = 5, 2, 128, 64, 24, 16  # of LlamaGen
Weights = dict[str, torch.Tensor]
TEXT = [
    "a red apple",
    "a green tree, 3d style",
    "the flag of Norway",
    "Generate an image 0123456789",
]


def tokenizer(
    special: Sequence[str],
    bos: str,
    pad: str,
    extra: Sequence[str] = (),
    roles: dict[str, Any] | None = None,
) -> PreTrainedTokenizerFast:
    """Byte-level BPE with the given special tokens first, ordinary `extra` words last. `roles` are
    the names by which the family's processor asks for some of the special ones."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=list(special),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator(TEXT, trainer)
    made.add_tokens(list(extra))
    return PreTrainedTokenizerFast(
        tokenizer_object=made,
        bos_token=bos,
        pad_token=pad,
        additional_special_tokens=list(special),
        **roles or {},
    )


def save_tiny_emu3(folder: Path) -> None:
    special = [
        "<|extra_203|>",
        "<|endoftext|>",
        emu3.IMAGE_START,
        "<|image end|>",
        emu3.IMAGE_TOKEN,
        emu3.END_OF_LINE,
        "<|extra_201|>",
        "<image>",
    ]
    codes = [f"<|visual token {code:06d}|>" for code in range(CODES)]
    roles = {
        "image_token": "<image>",
        "boi_token": emu3.IMAGE_START,
        "eoi_token": "<|image end|>",
        "image_wrapper_token": emu3.IMAGE_TOKEN,
        "eof_token": "<|extra_201|>",
    }
    words = tokenizer(
        special, special[0], special[1], extra=codes, roles={"extra_special_tokens": roles}
    )
    text = Emu3TextConfig(
        vocab_size=len(words),
        hidden_size=HIDDEN,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        bos_token_id=words.get_vocab()[special[0]],
        pad_token_id=words.get_vocab()[special[1]],
        eos_token_id=None,
    )
    vq = Emu3VQVAEConfig(
        codebook_size=CODES,
        base_channels=32,
        channel_multiplier=[1, 1],
        num_res_blocks=1,
        attn_resolutions=[],
        hidden_size=32,
        temporal_downsample_factor=2,
    )
    torch.manual_seed(1)
    model = Emu3ForConditionalGeneration(
        Emu3Config(text_config=text, vq_config=vq, vocabulary_map=words.get_vocab())
    )
    with torch.no_grad():
        model.lm_head.weight.mul_(25)
        model.model.text_model.embed_tokens.weight.mul_(20)
    model.save_pretrained(folder)
    words.save_pretrained(folder)


def save_tiny_chameleon(
    folder: Path, vqgan: Path, *, resolution: int, levels: Sequence[int] = (1, 2)
) -> None:
    """A checkpoint in the layout of transformers, without a decoder for pixels; that is in `vqgan`,
    the whole image tokenizer in the layout of Meta's release."""
    letters = "ABCDEFGHIJ"
    codes = ["IMGIMG" + "".join(letters[int(d)] for d in str(code)) + "Z" for code in range(CODES)]
    sizes = [f"<reserved{chameleon.FIRST_SIZE + n:05d}>" for n in range(1, 33)]
    special = ["<s>", "<pad>", "</s>", "<image>", chameleon.IMAGE_START, "<eoss>"]
    special += [chameleon.END_OF_TURN, chameleon.NEW_LINE, *sizes]
    roles = {"sep_token": chameleon.END_OF_TURN}
    words = tokenizer(special, "<s>", "<pad>", extra=codes[::-1], roles=roles)  # no ascending ids
    begin = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", words.get_vocab()["<s>"])])
    words.backend_tokenizer.post_processor = begin
    vq = ChameleonVQVAEConfig(
        embed_dim=4,
        num_embeddings=CODES,
        latent_channels=32,
        resolution=resolution,
        base_channels=32,
        channel_multiplier=list(levels),
        num_res_blocks=1,
    )
    config = ChameleonConfig(
        vocab_size=len(words),
        hidden_size=HIDDEN,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=512,
        vq_config=vq,
        vocabulary_map=words.get_vocab(),
    )
    torch.manual_seed(2)
    model = ChameleonForConditionalGeneration(config)
    with torch.no_grad():
        model.lm_head.weight.mul_(25)
        model.model.embed_tokens.weight.mul_(20)
    model.save_pretrained(folder)
    words.save_pretrained(folder)
    weights = model.model.vqmodel.state_dict() | VQDecoder(vq).state_dict()
    weights["loss.discriminator.main.0.weight"] = torch.zeros(1)  # left over from its training
    torch.save({"state_dict": weights, "epoch": 3}, vqgan)


def save_tiny_lumina(folder: Path, vqgan: Path, *, resolution: int, levels: Sequence[int]) -> None:
    """As `save_tiny_chameleon`, without what Lumina-mGPT is published without: the whole image
    tokenizer, and norms of queries and keys for each head. In two files, as the hub has three."""
    save_tiny_chameleon(folder, vqgan, resolution=resolution, levels=levels)
    whole = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    generator = torch.Generator().manual_seed(0)
    halves: list[Weights] = [{}, {}]
    for place, (name, weight) in enumerate(sorted(whole.items())):
        if name.startswith("model.vqmodel."):
            continue
        if "_norm.weight" in name and ".self_attn." in name:
            weight = torch.rand(1, weight.shape[1], generator=generator) + 0.5
        halves[place % 2][name] = weight
    places: dict[str, str] = {}
    for number, half in enumerate(halves, start=1):
        file = f"model-{number:05d}-of-00002.safetensors"
        save_file(half, folder / file, metadata={"format": "pt"})
        places |= dict.fromkeys(half, file)
    index = {"metadata": {"total_size": 0}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    config = json.loads((folder / "config.json").read_text())
    config["architectures"] = [chameleon.LUMINA_CLASS]
    (folder / "config.json").write_text(json.dumps(config))


def published_gpt() -> Weights:
    generator = torch.Generator().manual_seed(3)

    def normal(*shape: int, scale: float = 0.09) -> torch.Tensor:
        return torch.randn(*shape, generator=generator) * scale

    weights = {
        "tok_embeddings.weight": normal(CODES, WIDTH, scale=1.0),
        "norm.weight": normal(WIDTH) + 1,
        "output.weight": normal(CODES, WIDTH, scale=0.2),
        "cls_embedding.cap_proj.fc1.weight": normal(WIDTH, TEXT_WIDTH, scale=0.5),
        "cls_embedding.cap_proj.fc2.weight": normal(WIDTH, WIDTH, scale=0.3),
        "cls_embedding.uncond_embedding": normal(TEXT_TOKENS, TEXT_WIDTH, scale=1.0),
        "freqs_cis": torch.zeros(1),  # no weight: to be passed over
    }
    for layer in range(LAYERS):
        weights |= {
            f"layers.{layer}.attention.wqkv.weight": normal(3 * WIDTH, WIDTH, scale=0.15),
            f"layers.{layer}.attention.wo.weight": normal(WIDTH, WIDTH),
            f"layers.{layer}.feed_forward.w1.weight": normal(256, WIDTH),
            f"layers.{layer}.feed_forward.w2.weight": normal(WIDTH, 256),
            f"layers.{layer}.feed_forward.w3.weight": normal(256, WIDTH),
            f"layers.{layer}.attention_norm.weight": normal(WIDTH) + 1,
            f"layers.{layer}.ffn_norm.weight": normal(WIDTH) + 1,
        }
    return weights


def janus_vq() -> Any:
    torch.manual_seed(4)
    return JanusVQVAE(
        JanusVQVAEConfig(
            embed_dim=4,
            num_embeddings=CODES,
            latent_channels=32,
            base_channels=32,
            channel_multiplier=[1, 1, 1, 1, 2],
            num_res_blocks=1,
            num_patches=GRID,
        )
    ).eval()


def official_vq_names(weights: Weights) -> Weights:
    """Janus' image tokenizer under the names of the official LlamaGen code."""
    renamed = {}
    for name, weight in weights.items():
        new = name.replace(".down.", ".conv_blocks.").replace(".up.", ".conv_blocks.")
        new = new.replace(".block.", ".res.").replace(".mid.block_1", ".mid.0")
        new = new.replace(".mid.attn_1", ".mid.1").replace(".mid.block_2", ".mid.2")
        renamed[new] = weight
    return renamed | {"quantize.codebook_used": torch.zeros(5)}


def save_tiny_llamagen(folder: Path) -> None:
    """`gpt.pt` and `vq.pt` in the official layout, and a T5 in `text_encoder`."""
    torch.save({"model": published_gpt(), "steps": 1}, folder / "gpt.pt")
    torch.save({"model": official_vq_names(janus_vq().state_dict())}, folder / "vq.pt")
    words = tokenizer(["<pad>", "</s>", "<unk>"], bos="</s>", pad="<pad>")
    torch.manual_seed(5)
    config = T5Config(
        vocab_size=len(words), d_model=TEXT_WIDTH, d_kv=8, d_ff=32, num_layers=1, num_heads=2
    )
    T5EncoderModel(config).save_pretrained(folder / TEXT_FOLDER)
    words.save_pretrained(folder / TEXT_FOLDER)
