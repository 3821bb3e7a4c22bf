"""The few operations of xformers that official Chameleon code calls, on a CPU and slow.

After the documentation of `xformers.ops`: sequences lie one behind the other, each has a fixed
number of places in the cache, and rotary pairs are neighbours. Runs beside official code.

Letters: M tokens of all sequences, C places of all sequences, H heads, G queries a head, K size.
"""

import sys
import types
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention


class RMSNorm(nn.Module):
    def __init__(self, dim: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.eps, self.weight = eps, nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps) * self.weight


@dataclass
class Info:
    """Lengths of the sequences, and where each starts."""

    seqlen: Tensor
    seqstart: Tensor
    max_seqlen: int = 0
    seqstart_py: Any = None


@dataclass
class Bias:
    """Causal attention of new tokens to the places of their own sequence."""

    q_seqinfo: Info
    k_seqinfo: Info
    padding: int

    @classmethod
    def from_seqlens(cls, q_seqlen: list[int], kv_seqlen: list[int], kv_padding: int) -> "Bias":
        starts = torch.tensor([0, *q_seqlen]).cumsum(0).int()
        places = torch.arange(len(q_seqlen) + 1) * kv_padding
        return cls(
            Info(torch.tensor(q_seqlen), starts), Info(torch.tensor(kv_seqlen), places), kv_padding
        )

    def parts(self) -> Any:
        """Of each sequence: its new tokens, its first place, and its length with them."""
        starts = self.q_seqinfo.seqstart.tolist()
        for row, length in enumerate(self.k_seqinfo.seqlen.tolist()):
            yield slice(starts[row], starts[row + 1]), row * self.padding, length


def rope_padded(  # noqa: PLR0913  # as official code calls it
    xq: Tensor,
    xk: Tensor,
    xv: Tensor,
    cache_k: Tensor,
    cache_v: Tensor,
    attn_bias: Bias,
    *,
    theta: float = 10000.0,
) -> Tensor:
    """Rotated queries; rotated keys, and values, go to the places of their sequences."""
    turned = torch.empty_like(xq)
    for tokens, first, length in attn_bias.parts():
        new = tokens.stop - tokens.start
        positions = torch.arange(length - new, length)
        turned[:, tokens] = _turn(xq[:, tokens], positions, theta)
        here = slice(first + length - new, first + length)
        cache_k[:, here] = _turn(xk[:, tokens], positions, theta)
        cache_v[:, here] = xv[:, tokens]
    return turned


def _turn(x: Tensor, positions: Tensor, theta: float) -> Tensor:
    size = x.shape[-1]
    speeds = theta ** -(torch.arange(0, size, 2) / size)
    angles = positions[:, None] * speeds
    factors = torch.polar(torch.ones_like(angles), angles)[:, None]
    pairs = torch.view_as_complex(x.float().unflatten(-1, (-1, 2)))
    return torch.view_as_real(pairs * factors).flatten(-2).to(x.dtype)


def attention(xq: Tensor, keys: Tensor, values: Tensor, bias: Bias) -> Tensor:
    """xq [1, M, H, G, K], keys and values [1, C, H, G, K]."""
    mixed = torch.empty_like(xq)
    for tokens, first, length in bias.parts():
        new = tokens.stop - tokens.start
        seen = slice(first, first + length)
        sees = torch.arange(length) <= torch.arange(length - new, length)[:, None]
        q, k, v = (part[0].flatten(1, 2).transpose(0, 1) for part in (
            xq[:, tokens], keys[:, seen], values[:, seen]
        ))  # fmt: skip
        out = scaled_dot_product_attention(q, k, v, attn_mask=sees)
        mixed[0, tokens] = out.transpose(0, 1).unflatten(1, xq.shape[2:4])
    return mixed


def install() -> None:
    """As the modules that official code imports."""
    ops: Any = types.ModuleType("xformers.ops")
    fmha: Any = types.ModuleType("xformers.ops.fmha")
    masks: Any = types.ModuleType("xformers.ops.fmha.attn_bias")
    ops.RMSNorm, ops.rope_padded, ops.fmha = RMSNorm, rope_padded, fmha
    fmha.memory_efficient_attention_forward = attention
    masks.BlockDiagonalCausalWithOffsetPaddedKeysMask = Bias
    top = types.ModuleType("xformers")
    for module in (top, ops, fmha, masks):
        sys.modules[module.__name__] = module
