"""VQ decoder of Chameleon: image tokens to pixels. Transformers ships the encoder half only.

The modules are named as in the official `vqgan.ckpt` (that of CompVis/taming-transformers at
3ba01b2), so that its weights load as they are; the blocks are those of transformers.
"""

from typing import Any

from torch import Tensor, nn
from torch.nn.functional import silu
from transformers.models.chameleon.modeling_chameleon import (
    ChameleonVQVAEEncoderAttnBlock,
    ChameleonVQVAEEncoderResnetBlock,
)
from transformers.models.janus.modeling_janus import JanusVQVAEConvUpsample

FILE = "vq_decoder.safetensors"  # written by `hawk convert` into the model's folder
PARTS = ("quantize.embedding.", "post_quant_conv.", "decoder.")  # parts of the official checkpoint


class VQDecoder(nn.Module):
    """Codebook, convolution and decoder.

    Args:
        config: `ChameleonVQVAEConfig` without attention outside the middle block, as in every
            published one.
    """

    def __init__(self, config: Any) -> None:
        super().__init__()
        if config.attn_resolutions:
            raise ValueError(f"attention at {config.attn_resolutions} is not supported")
        self.quantize = _Codebook(config)
        self.post_quant_conv = nn.Conv2d(config.embed_dim, config.latent_channels, 1)
        self.decoder = _Decoder(config)

    def forward(self, codes_BHW: Tensor) -> Tensor:
        """Images [B, 3, height, width] with values from about -1 to 1."""
        latents = self.quantize.embedding(codes_BHW).permute(0, 3, 1, 2)
        return self.decoder(self.post_quant_conv(latents))


class _Codebook(nn.Module):
    def __init__(self, config: Any) -> None:
        super().__init__()
        self.embedding = nn.Embedding(config.num_embeddings, config.embed_dim)


class _Decoder(nn.Module):
    def __init__(self, config: Any) -> None:
        super().__init__()
        sizes = [config.base_channels * factor for factor in config.channel_multiplier]
        inputs = [*sizes[1:], sizes[-1]]  # numbered from the finest level, run from the coarsest
        self.conv_in = nn.Conv2d(config.latent_channels, sizes[-1], 3, padding=1)
        self.mid = _Middle(config, sizes[-1])
        self.up = nn.ModuleList(
            _Level(config, inputs[level], sizes[level], finest=level == 0)
            for level in range(len(sizes))
        )
        self.norm_out = nn.GroupNorm(32, sizes[0], eps=1e-6)
        self.conv_out = nn.Conv2d(sizes[0], config.in_channels, 3, padding=1)

    def forward(self, latents: Tensor) -> Tensor:
        hidden = self.mid(self.conv_in(latents))
        for level in list(self.up)[::-1]:
            hidden = level(hidden)
        return self.conv_out(silu(self.norm_out(hidden)))


class _Middle(nn.Module):
    def __init__(self, config: Any, channels: int) -> None:
        super().__init__()
        self.block_1 = ChameleonVQVAEEncoderResnetBlock(config, channels, channels)
        self.attn_1 = ChameleonVQVAEEncoderAttnBlock(channels)
        self.block_2 = ChameleonVQVAEEncoderResnetBlock(config, channels, channels)

    def forward(self, hidden: Tensor) -> Tensor:
        return self.block_2(self.attn_1(self.block_1(hidden)))


class _Level(nn.Module):
    """Blocks of one resolution; all but the finest end in an upsampling."""

    def __init__(self, config: Any, inputs: int, channels: int, *, finest: bool) -> None:
        super().__init__()
        self.block = nn.ModuleList(
            ChameleonVQVAEEncoderResnetBlock(config, size, channels)
            for size in [inputs] + [channels] * config.num_res_blocks
        )
        self.upsample = nn.Identity() if finest else JanusVQVAEConvUpsample(channels)

    def forward(self, hidden: Tensor) -> Tensor:
        for block in self.block:
            hidden = block(hidden)
        return self.upsample(hidden)
