"""The shape of the embedded model `emoji`: a small Janus, every size in one place."""

import torch
from transformers import JanusConfig, JanusForConditionalGeneration, LlamaConfig
from transformers.models.janus.configuration_janus import JanusVisionConfig, JanusVQVAEConfig

IMAGE_PIXELS = 64
PATCH_PIXELS = 4  # 16 x 16 grid
CODEBOOK = 1024
CODE_DIM = 16
TEXT_TOKENS = 64  # longest caption in training is 25 tokens; BOS and BOI included
HIDDEN = 384


def vq_config() -> JanusVQVAEConfig:
    """Two doublings: a 16 x 16 grid to 64 px. GroupNorm needs multiples of 32 channels."""
    return JanusVQVAEConfig(
        embed_dim=CODE_DIM,
        num_embeddings=CODEBOOK,
        latent_channels=64,
        base_channels=32,
        channel_multiplier=[1, 1, 4],
        num_res_blocks=0,
        num_patches=IMAGE_PIXELS // PATCH_PIXELS,
        projection_dim=HIDDEN,
        num_hidden_layers=2,
        image_token_embed_dim=HIDDEN,
    )


def janus_config(text_vocab: int, bos: int, pad: int, image_token: int) -> JanusConfig:
    """About 12 M parameters in the language model; the unused vision tower is a token gesture."""
    text = LlamaConfig(
        vocab_size=text_vocab,
        hidden_size=HIDDEN,
        intermediate_size=1024,
        num_hidden_layers=6,
        num_attention_heads=6,
        num_key_value_heads=6,
        head_dim=64,
        max_position_embeddings=512,
        bos_token_id=bos,
        eos_token_id=None,
        pad_token_id=pad,
        tie_word_embeddings=True,
    )
    vision = JanusVisionConfig(
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        image_size=IMAGE_PIXELS,
        patch_size=PATCH_PIXELS,
        projection_dim=HIDDEN,
        mlp_ratio=1.0,
        depth=1,
        num_image_tokens=(IMAGE_PIXELS // PATCH_PIXELS) ** 2,
    )
    return JanusConfig(
        text_config=text,
        vision_config=vision,
        vq_config=vq_config(),
        image_token_id=image_token,
        tie_word_embeddings=True,
    )


def has_fast_bfloat16(device: torch.device) -> bool:
    """Whether matrices multiply faster in bfloat16; with AVX2 alone it is 80 times slower."""
    return device.type != "cpu" or torch.backends.cpu.get_cpu_capability() == "AVX512"


def fast_bfloat16(device: torch.device) -> torch.autocast:
    """Context that runs matrix products in bfloat16 where that is faster."""
    return torch.autocast(device.type, torch.bfloat16, enabled=has_fast_bfloat16(device))


def build(text_vocab: int, bos: int, pad: int, image_token: int) -> JanusForConditionalGeneration:
    return JanusForConditionalGeneration(janus_config(text_vocab, bos, pad, image_token))
