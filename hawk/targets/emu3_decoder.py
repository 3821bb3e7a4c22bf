"""One image from the video decoder of Emu3's image tokenizer.

For a single image the decoder makes `temporal_downsample_factor` frames, four in the published
model, and transformers' own `decode` keeps the first. From the resolution of the grid on, frames do
not see each other: here the others are dropped there, which takes a quarter of memory and time.
"""

from typing import Any

import torch
from torch import Tensor


def decode_image(vq: Any, codes_BHW: Tensor) -> Tensor:
    """Images [B, 3, height, width] with values from about -1 to 1, those of `vq.decode`.

    Args:
        vq: Image tokenizer, an `Emu3VQVAE`.
        codes_BHW: int64, image tokens.
    """
    decoder = vq.decoder
    quant_BCXHW = vq.quantize.embedding(codes_BHW).permute(0, 3, 1, 2)[:, :, None]
    both = torch.cat([vq.post_quant_conv(quant_BCXHW), quant_BCXHW])  # [2B, C, X frames, H, W]
    for layer in decoder.time_res_stack:
        both = layer(both)
    for layer in decoder.time_conv:
        both = layer(both)
        both = both * both.sigmoid()
    hidden_BCHW, quant_BCHW = both[:, :, 0].chunk(2)
    hidden_BCHW = decoder.middle_block(decoder.conv_in(hidden_BCHW), quant_BCHW)
    hidden_BCHW = decoder.up_block(hidden_BCHW, quant_BCHW)
    hidden_BCHW = decoder.norm_out(hidden_BCHW, quant_BCHW)
    return decoder.conv_out(hidden_BCHW * hidden_BCHW.sigmoid())
