"""Checkpoints of every family, small enough to run thousands of passes in a test.

Random weights; the scales make laws that depend on their context and are neither flat nor sharp, so
that drafts are accepted sometimes.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    ChameleonConfig,
    ChameleonForConditionalGeneration,
    Emu3Config,
    Emu3ForConditionalGeneration,
    PreTrainedTokenizerFast,
)
from transformers.models.chameleon.configuration_chameleon import ChameleonVQVAEConfig
from transformers.models.emu3.configuration_emu3 import Emu3TextConfig, Emu3VQVAEConfig

from hawk.targets import chameleon, emu3
from hawk.targets.vq import VQDecoder

CODES = 64  # image vocabulary
HIDDEN = 64
PATCH = 2  # pixels a cell
TEXT = [
    "a red apple",
    "a green tree, 3d style",
    "the flag of Norway",
    "Generate an image 0123456789",
]


def tokenizer(
    special: Sequence[str], bos: str, pad: str, extra: Sequence[str] = ()
) -> PreTrainedTokenizerFast:
    """Byte-level BPE with the given special tokens first, ordinary `extra` words last."""
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
    words = tokenizer(special, bos=special[0], pad=special[1], extra=codes)
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
    in the layout of Meta's release."""
    letters = "ABCDEFGHIJ"
    codes = ["IMGIMG" + "".join(letters[int(d)] for d in str(code)) + "Z" for code in range(CODES)]
    sizes = [f"<reserved{chameleon.FIRST_SIZE + n:05d}>" for n in range(1, 33)]
    special = ["<s>", "<pad>", "</s>", "<image>", chameleon.IMAGE_START, "<eoss>"]
    special += [chameleon.END_OF_TURN, chameleon.NEW_LINE, *sizes]
    words = tokenizer(special, bos="<s>", pad="<pad>", extra=codes[::-1])  # no ascending ids
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
    weights = VQDecoder(vq).state_dict() | {"encoder.conv_in.weight": torch.zeros(1)}
    torch.save({"state_dict": weights, "epoch": 3}, vqgan)
