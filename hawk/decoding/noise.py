"""Noise: random numbers as a pure function of (seed, stream, step, id).

No generator state: a number does not depend on batch, call order, process or device, so whoever
asks for the noise of one token of one image gets the same answer.

Streams are independent of each other. Tokens are picked under `TOKENS`, by the target and, where
drafts only have to guess that pick, by drafters. Rules that weigh the law of a draft against the
target's need three that know nothing of each other: `DRAFTS` + s for source s of drafts,
`ACCEPTANCE` for the decision (ids count the siblings), `TOKENS` for what replaces refused drafts.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hawk.decoding.bounds import SEED_LIMIT

TOKENS, ACCEPTANCE, DRAFTS = 0, 1, 2

_GOLDEN = -1640531527  # 2**32 / golden ratio as a signed 32-bit number
_MULTIPLIERS = (0x7FEB352D, 0x846CA68B - (1 << 32))


@dataclass(frozen=True, kw_only=True)
class Noise:
    """Noise under which the token after each node of a tree is picked.

    Attributes:
        seeds_B: int64, seed of each row.
        steps_BN: int64, raster step of the token after each node.
        tokens_BNV: float32 Gumbel noise of those steps; 0 in rows at temperature 0.
    """

    seeds_B: Tensor
    steps_BN: Tensor
    tokens_BNV: Tensor

    @classmethod
    def draw(
        cls, seeds_B: Tensor, steps_BN: Tensor, scales_B11: Tensor, vocabulary: int
    ) -> "Noise":
        """Noise that is drawn anew; `scales_B11` float32, 0 for rows at temperature 0, else 1."""
        ids_V = torch.arange(vocabulary, dtype=torch.int32, device=seeds_B.device)
        tokens_BNV = gumbel(seeds_B, steps_BN, ids_V).mul_(scales_B11)
        return cls(seeds_B=seeds_B, steps_BN=steps_BN, tokens_BNV=tokens_BNV)


def gumbel(seeds_B: Tensor, steps_BN: Tensor, ids: Tensor, stream: int = TOKENS) -> Tensor:
    """Standard Gumbel noise.

    Args:
        seeds_B: int64, 0 <= seed < 2**63.
        steps_BN: int64, raster step of each position.
        ids: int32 token ids, [V] for the same ids everywhere, or [B, N, V].
        stream: Number of one of the independent streams.

    Returns:
        float32 [B, N, V]. The bits behind it are equal on every device; the two logarithms are
        taken in float64 so that rounding to float32 hides how a device computes them.
    """
    return uniform(seeds_B, steps_BN, ids, stream).log_().neg_().log_().neg_().float()


def uniform(seeds_B: Tensor, steps_BN: Tensor, ids: Tensor, stream: int) -> Tensor:
    """Uniform numbers float64 [B, N, V], above 0 and below 1; arguments as in `gumbel`."""
    return bits(seeds_B, steps_BN, ids, stream).double().mul_(2.0**-32).add_(0.5 + 2.0**-33)


def seed_of(seed: int, text: str) -> int:
    """Seed for independent noise where equal seeds meet unequal texts."""
    word = hashlib.blake2b(f"{seed} {text}".encode(), digest_size=8).digest()
    return int.from_bytes(word, "little") % SEED_LIMIT


def bits(seeds_B: Tensor, steps_BN: Tensor, ids: Tensor, stream: int = TOKENS) -> Tensor:
    """Uniform signed 32-bit integers [B, N, V]; arguments as in `gumbel`."""
    if seeds_B.device.type == "cpu":  # numpy takes half of torch's time for small arrays
        seeds_B1 = seeds_B.numpy()[:, None]
        words = [seeds_B1, seeds_B1 >> 32, steps_BN.numpy(), ids.numpy()]
        mixed = _scramble([word.astype(np.uint32) for word in words], stream, _mix_words)
        return torch.from_numpy(mixed.view(np.int32))
    seeds_B1 = seeds_B[:, None]
    words = [seeds_B1, seeds_B1 >> 32, steps_BN, ids]
    return _scramble([word.to(torch.int32) for word in words], stream, _mix)


def _scramble(words: Sequence[Any], stream: int, mix: Callable[[Any], Any]) -> Any:
    """Hash of the low and high words of the seeds [B, 1], of the steps [B, N] and of the ids, all
    arrays or tensors of 32-bit integers that wrap around."""
    low_B1, high_B1, steps_BN, ids = words
    golden = _GOLDEN if isinstance(ids, Tensor) else _GOLDEN % (1 << 32)
    key = mix(mix(low_B1 + golden) ^ high_B1)
    key = mix(key ^ mix(steps_BN * golden))
    if stream != TOKENS:
        key = mix(key + stream)
    second = mix(key + golden)
    mixed = mix(ids + key[..., None])
    mixed ^= second[..., None]
    return mix(mixed)


def _mix(x: Tensor) -> Tensor:
    """A bijection of 32-bit integers, in place: `lowbias32` of C. Wellons' hash-prospector."""
    for shift, multiplier in zip((16, 15), _MULTIPLIERS, strict=True):
        x.bitwise_xor_(_shift_right(x, shift)).mul_(multiplier)
    return x.bitwise_xor_(_shift_right(x, 16))


def _mix_words(x: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """`_mix` for numpy's unsigned integers."""
    for shift, multiplier in zip((16, 15), _MULTIPLIERS, strict=True):
        x ^= x >> shift
        x *= multiplier % (1 << 32)
    x ^= x >> 16
    return x


def _shift_right(x: Tensor, by: int) -> Tensor:
    """Logical shift of int32 (torch has only the arithmetic one)."""
    return (x >> by).bitwise_and_((1 << (32 - by)) - 1)
