"""Decoder: the transformer of every family, for passes over a few tokens of many rows.

Transformers loads configurations and weights, and its modules are what this is tested against.
They are written for one new token behind all others. Here queries, keys and values are one product,
and so are the gate and what it lets through; keys and values are written where the cache says, and
never copied, not even for query heads that share them.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hawk.decoding.cache import Cache, Layout, write


class Decoder(nn.Module):
    """The layers of a transformers decoder (`LlamaModel` and its kin).

    Args:
        theirs: The decoder of transformers. It goes on working, on parts of the merged weights:
            nothing is held twice.

    Attributes:
        layout: Keys and values of one token.
    """

    def __init__(self, theirs: Any) -> None:
        super().__init__()
        config, self.norm = theirs.config, theirs.norm
        self.hidden_size = int(config.hidden_size)
        layout = layout_of(config, self.norm.weight.dtype, self.device)
        self._groups = config.num_attention_heads // layout.heads
        self.layers = nn.ModuleList(Layer(layer, layout.heads) for layer in theirs.layers)
        devices = tuple(next(layer.parameters()).device for layer in self.layers)
        self.layout = replace(layout, layer_devices=devices)
        with torch.no_grad():
            positions_U = torch.arange(config.max_position_embeddings, device=self.device)
            cosine_1UD, sine_1UD = theirs.rotary_emb(self.norm.weight, positions_U[None])
        # A number turns with the one half a head away: the first half against it, the second along.
        against, along = sine_1UD.chunk(2, -1)
        self._turns_U2D = torch.cat([cosine_1UD, torch.cat([-against, along], -1)]).transpose(0, 1)

    @property
    def device(self) -> torch.device:
        """Device where passes begin and end."""
        return self.norm.weight.device

    def forward(
        self, hidden_RED: Tensor, positions_RE: Tensor, mask_R1EU: Tensor, cache: Cache
    ) -> Tensor:
        """Hidden states [R, N, D] of entries that the cache has begun and placed.

        Args:
            hidden_RED: Embeddings of the entries.
            positions_RE: int64; positions behind the model's last one have the turn of the last.
            mask_R1EU: Addend of the scores of attention.
            cache: Memory that holds the rows.
        """
        places_F = positions_RE.flatten().clamp(max=len(self._turns_U2D) - 1)
        cosine_F1D, sine_F1D = self._turns_U2D[places_F].split(1, 1)
        # Query heads that share keys stand as more entries, so that none of them sees a copy.
        mask = mask_R1EU.repeat_interleave(self._groups, 2) if self._groups > 1 else mask_R1EU
        given = (cosine_F1D, sine_F1D, mask, *cache.index)
        hidden_FD = hidden_RED.flatten(0, 1)
        for number, layer in enumerate(self.layers):
            seen = cache.seen(number)
            if seen.device != hidden_FD.device:
                hidden_FD = hidden_FD.to(seen.device)
                given = tuple(tensor.to(seen.device) for tensor in given)
            hidden_FD = layer(hidden_FD, seen, *given)
        return _normed(hidden_FD.to(self.device), self.norm).view_as(hidden_RED)


def layout_of(config: Any, dtype: torch.dtype, device: torch.device) -> Layout:
    """Keys and values of one token by the configuration of a decoder."""
    heads = int(config.num_attention_heads)
    return Layout(
        layers=int(config.num_hidden_layers),
        heads=int(config.num_key_value_heads or heads),
        head_size=int(getattr(config, "head_dim", None) or config.hidden_size // heads),
        dtype=dtype,
        device=device,
    )


class Layer(nn.Module):
    """Attention, and the gated product behind it.

    Args:
        theirs: Layer of transformers.
        heads: Number of heads of keys, and of values.
    """

    def __init__(self, theirs: Any, heads: int) -> None:
        super().__init__()
        attention, mlp = theirs.self_attn, theirs.mlp
        self._heads, self._size = heads, int(attention.head_dim)
        self._qkv = _product(attention.q_proj, attention.k_proj, attention.v_proj)
        self._out = _product(attention.o_proj)
        self._gate_up = _product(mlp.gate_proj, mlp.up_proj)
        self._down, self._activation = _product(mlp.down_proj), mlp.act_fn
        self._norms = nn.ModuleList([theirs.input_layernorm, theirs.post_attention_layernorm])
        self._swin = getattr(attention.config, "swin_norm", False)  # norms behind, not before
        self._head_norm: tuple[Tensor, Tensor] | None = None
        if hasattr(attention, "q_norm"):
            norms = attention.q_norm, attention.k_norm
            self._head_norm = _joined(norms, "weight"), _joined(norms, "bias")

    def forward(self, hidden_FD: Tensor, *given: Tensor) -> Tensor:
        """Hidden states [F, D] behind the layer; `given` are the other arguments of `_attended`."""
        first, second = self._norms
        if self._swin:
            hidden_FD = hidden_FD + _normed(self._attended(hidden_FD, *given), first)
            return hidden_FD + _normed(self._gated(hidden_FD), second)
        hidden_FD = hidden_FD + self._attended(_normed(hidden_FD, first), *given)
        return hidden_FD + self._gated(_normed(hidden_FD, second))

    def _attended(  # noqa: PLR0913
        self,
        hidden_FD: Tensor,
        seen: Tensor,
        cosine_F1D: Tensor,
        sine_F1D: Tensor,
        mask: Tensor,
        row_F: Tensor,
        place_F: Tensor,
    ) -> Tensor:
        """Output of the attention.

        Args:
            hidden_FD: Hidden states before the layer, normed.
            seen: Memory [R, 2 x heads, U, D] of keys and values, to be written first.
            cosine_F1D, sine_F1D: Turn of each entry.
            mask: Addend of the scores [R, 1, E x query heads of a head, U].
            row_F, place_F: Row and place of each entry in the memory.
        """
        heads, size, rows = self._heads, self._size, len(seen)
        qkv = self._qkv(hidden_FD).view(len(hidden_FD), -1, size)
        queried = qkv.shape[1] - 2 * heads
        turning = qkv.narrow(1, 0, queried + heads)
        if self._head_norm is not None:
            gain, shift = self._head_norm
            turning.copy_(torch.addcmul(shift, F.layer_norm(turning, (size,)), gain))
        other_half = turning.roll(size // 2, -1)
        turning.mul_(cosine_F1D).addcmul_(other_half, sine_F1D)
        write(seen, row_F, place_F, qkv.narrow(1, queried, 2 * heads))
        keys, values = seen.chunk(2, 1)
        queries = qkv.narrow(1, 0, queried).view(rows, -1, heads, queried // heads, size)
        queries = queries.transpose(1, 2).flatten(2, 3)
        mixed = F.scaled_dot_product_attention(queries, keys, values, attn_mask=mask)
        mixed = mixed.view(rows, heads, -1, queried // heads, size).transpose(1, 2)
        return self._out(mixed.reshape(len(hidden_FD), -1))

    def _gated(self, hidden_FD: Tensor) -> Tensor:
        gate, up = self._gate_up(hidden_FD).chunk(2, -1)
        return self._down(self._activation(gate).mul_(up))


class SideBySide(nn.Module):
    """Products of one input side by side, by modules that are no plain matrices: quantised ones, or
    those with adapters."""

    def __init__(self, parts: Any) -> None:
        super().__init__()
        self._parts = nn.ModuleList(parts)

    def forward(self, hidden: Tensor) -> Tensor:
        return torch.cat([part(hidden) for part in self._parts], -1)


def _product(*parts: Any) -> Callable[[Tensor], Tensor]:
    """One product in place of several of the same input."""
    if any(type(part) is not nn.Linear or type(part.weight.data) is not Tensor for part in parts):
        return SideBySide(parts)
    bias = None if parts[0].bias is None else _joined(parts, "bias")
    return partial(F.linear, weight=_joined(parts, "weight"), bias=bias)


def _joined(parts: Any, name: str) -> Tensor:
    """The parameters of that name one behind the other; the parts share this memory from now on."""
    parameters = [getattr(part, name) for part in parts]
    if len(parameters) == 1:
        return parameters[0].data
    whole = torch.cat([parameter.detach() for parameter in parameters])
    shares = whole.split([len(parameter) for parameter in parameters])
    for parameter, share in zip(parameters, shares, strict=True):
        parameter.data = share
    return whole


def _normed(hidden: Tensor, norm: Any) -> Tensor:
    return F.rms_norm(hidden, norm.weight.shape, norm.weight, norm.variance_epsilon)
