"""Noise: Gumbel numbers as a pure function of (seed, step, token id).

No generator state: a number does not depend on batch, call order, process or device, so whoever
asks for the noise of one token of one image gets the same answer. Drafters and the target share it.

Letters: B rows, N positions, K token ids.
"""

import torch
from torch import Tensor

SEED_LIMIT = 1 << 63

_GOLDEN = -1640531527  # 2**32 / golden ratio as a signed 32-bit number
_MULTIPLIERS = (0x7FEB352D, 0x846CA68B - (1 << 32))


def gumbel(seeds_B: Tensor, steps_BN: Tensor, ids: Tensor) -> Tensor:
    """Standard Gumbel noise.

    Args:
        seeds_B: int64, 0 <= seed < 2**63.
        steps_BN: int64, raster step of each position.
        ids: int32 token ids, [K] for the same ids everywhere or [B, N, K].

    Returns:
        float32 [B, N, K]. The bits behind it are equal on every device; the two logarithms are
        taken in float64 so that rounding to float32 hides how a device computes them.
    """
    uniform = bits(seeds_B, steps_BN, ids).double().mul_(2.0**-32).add_(0.5 + 2.0**-33)
    return uniform.log_().neg_().log_().neg_().float()


def bits(seeds_B: Tensor, steps_BN: Tensor, ids: Tensor) -> Tensor:
    """Uniform signed 32-bit integers [B, N, K]; arguments as in `gumbel`."""
    low = seeds_B.to(torch.int32)[:, None]  # keeps the low 32 bits
    high = (seeds_B >> 32).to(torch.int32)[:, None]
    key = _mix(_mix(low + _GOLDEN) ^ high)
    key = _mix(key ^ _mix(steps_BN.to(torch.int32) * _GOLDEN))
    second = _mix(key + _GOLDEN)
    mixed = _mix(ids + key.unsqueeze(-1))
    return _mix(mixed.bitwise_xor_(second.unsqueeze(-1)))


def _mix(x: Tensor) -> Tensor:
    """A bijection of 32-bit integers, in place: `lowbias32` of C. Wellons' hash-prospector."""
    for shift, multiplier in zip((16, 15), _MULTIPLIERS, strict=True):
        x.bitwise_xor_(_shift_right(x, shift)).mul_(multiplier)
    return x.bitwise_xor_(_shift_right(x, 16))


def _shift_right(x: Tensor, by: int) -> Tensor:
    """Logical shift of int32 (torch has only the arithmetic one)."""
    return (x >> by).bitwise_and_((1 << (32 - by)) - 1)
