"""Decoder: the transformer of every family, for passes over a few tokens of many rows.

Transformers loads configurations and weights, and its modules are what this is tested against.
They are written for one new token behind all others. Here queries, keys and values are one product,
and so are the gate and what it lets through; keys and values are written where the cache says, and
never copied, not even for query heads that share them.

Letters: R rows, N entries of a pass, D hidden, H heads of keys and values, Q query heads, G query
heads to each of H, E head size, P positions, V entries of the memory that the pass sees.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hawk.cache import Cache, Layout, write


class Decoder(nn.Module):
    """The layers of a transformers decoder (`LlamaModel` and its kin).

    Args:
        theirs: the decoder. It goes on to work, on parts of the merged weights: nothing is held
            twice.
    """

    def __init__(self, theirs: Any) -> None:
        super().__init__()
        config = theirs.config
        heads = int(config.num_attention_heads)
        self.hidden_size = int(config.hidden_size)
        self._heads = int(config.num_key_value_heads or heads)
        self._head_size = int(getattr(config, "head_dim", None) or self.hidden_size // heads)
        self._groups = heads // self._heads
        self.layers = nn.ModuleList(Layer(layer, self._heads) for layer in theirs.layers)
        self.norm = theirs.norm
        with torch.no_grad():
            positions_P = torch.arange(config.max_position_embeddings, device=self.device)
            cosine_1PE, sine_1PE = theirs.rotary_emb(self.norm.weight, positions_P[None])
        # A number turns with the one half a head away: the first half against it, the second along.
        against, along = sine_1PE.chunk(2, -1)
        self._turns_P2E = torch.cat([cosine_1PE, torch.cat([-against, along], -1)]).transpose(0, 1)

    @property
    def device(self) -> torch.device:
        """Where passes begin and end."""
        return self.norm.weight.device

    @property
    def layout(self) -> Layout:
        return Layout(
            layers=len(self.layers),
            heads=self._heads,
            head_size=self._head_size,
            dtype=self.norm.weight.dtype,
            device=self.device,
            layer_devices=tuple(next(layer.parameters()).device for layer in self.layers),
        )

    def forward(
        self, hidden_RND: Tensor, positions_RN: Tensor, mask_R1NV: Tensor, cache: Cache
    ) -> Tensor:
        """Hidden states [R, N, D] of entries that the cache has begun and placed.

        Args:
            hidden_RND: their embeddings.
            positions_RN: int64; those behind the last of the model have the turn of the last.
            mask_R1NV: added to the scores of attention.
        """
        turns_RN2E = self._turns_P2E[positions_RN.clamp(max=len(self._turns_P2E) - 1)]
        # Query heads that share keys stand as more entries, so that none of them sees a copy.
        mask = mask_R1NV.repeat_interleave(self._groups, 2) if self._groups > 1 else mask_R1NV
        given = (turns_RN2E, mask, *cache.index)
        for number, layer in enumerate(self.layers):
            seen = cache.seen(number)
            if seen.device != hidden_RND.device:
                hidden_RND = hidden_RND.to(seen.device)
                given = tuple(tensor.to(seen.device) for tensor in given)
            hidden_RND = layer(hidden_RND, seen, *given)
        return _normed(hidden_RND.to(self.device), self.norm)


class Layer(nn.Module):
    """Attention, and the gated product behind it.

    Args:
        theirs: the layer of transformers.
        heads: of keys and values.
    """

    def __init__(self, theirs: Any, heads: int) -> None:
        super().__init__()
        attention, mlp = theirs.self_attn, theirs.mlp
        self._heads, self._size = heads, int(attention.head_dim)
        self._qkv = _product(attention.q_proj, attention.k_proj, attention.v_proj)
        self._out = attention.o_proj
        self._gate_up = _product(mlp.gate_proj, mlp.up_proj)
        self._down, self._activation = mlp.down_proj, mlp.act_fn
        self._norms = nn.ModuleList([theirs.input_layernorm, theirs.post_attention_layernorm])
        self._swin = getattr(attention.config, "swin_norm", False)  # norms behind, not before
        self._head_norm: tuple[Tensor, Tensor] | None = None
        if hasattr(attention, "q_norm"):
            norms = attention.q_norm, attention.k_norm
            self._head_norm = _joined(norms, "weight"), _joined(norms, "bias")

    def forward(
        self,
        hidden_RND: Tensor,
        seen_RV2HE: Tensor,
        turns_RN2E: Tensor,
        mask: Tensor,
        *index: Tensor,
    ) -> Tensor:
        """Hidden states behind the layer.

        Args:
            seen_RV2HE: memory of keys and values, written at `index` first.
            mask: [R, 1, N x G, V], added to scores.
        """
        first, second = self._norms
        given = seen_RV2HE, turns_RN2E, mask, index
        if self._swin:
            hidden_RND = hidden_RND + _normed(self._attended(hidden_RND, *given), first)
            return hidden_RND + _normed(self._gated(hidden_RND), second)
        hidden_RND = hidden_RND + self._attended(_normed(hidden_RND, first), *given)
        return hidden_RND + self._gated(_normed(hidden_RND, second))

    def _attended(
        self,
        hidden_RND: Tensor,
        seen_RV2HE: Tensor,
        turns_RN2E: Tensor,
        mask: Tensor,
        index: tuple[Tensor, ...],
    ) -> Tensor:
        rows, entries, _ = hidden_RND.shape
        heads, size = self._heads, self._size
        qkv = self._qkv(hidden_RND).view(rows, entries, -1, size)
        turning = qkv[:, :, :-heads]
        if self._head_norm is not None:
            gain, shift = self._head_norm
            turning.copy_(torch.addcmul(shift, F.layer_norm(turning, (size,)), gain))
        cosine, sine = turns_RN2E[:, :, :, None].unbind(2)
        other_half = turning.roll(size // 2, -1)
        turning.mul_(cosine).addcmul_(other_half, sine)
        write(seen_RV2HE, index, qkv[:, :, -2 * heads :])
        keys, values = seen_RV2HE.transpose(1, 3).unbind(2)
        queries = qkv[:, :, : -2 * heads].unflatten(2, (heads, -1)).transpose(1, 2).flatten(2, 3)
        mixed = F.scaled_dot_product_attention(queries, keys, values, attn_mask=mask)
        return self._out(mixed.unflatten(2, (entries, -1)).transpose(1, 2).flatten(2))

    def _gated(self, hidden_RND: Tensor) -> Tensor:
        gate, up = self._gate_up(hidden_RND).chunk(2, -1)
        return self._down(self._activation(gate) * up)


class Beside(nn.Module):
    """Products of one input side by side, which are not plain matrices: quantised, or adapted."""

    def __init__(self, parts: Any) -> None:
        super().__init__()
        self._parts = nn.ModuleList(parts)

    def forward(self, hidden: Tensor) -> Tensor:
        return torch.cat([part(hidden) for part in self._parts], -1)


def _product(*parts: Any) -> nn.Module:
    """One product in place of several of the same input."""
    if any(type(part) is not nn.Linear or type(part.weight.data) is not Tensor for part in parts):
        return Beside(parts)
    whole = nn.Linear(1, 1, bias=False, device="meta")
    whole.weight = nn.Parameter(_joined(parts, "weight"), requires_grad=False)
    if parts[0].bias is not None:
        whole.bias = nn.Parameter(_joined(parts, "bias"), requires_grad=False)
    whole.out_features, whole.in_features = whole.weight.shape
    return whole


def _joined(parts: Any, name: str) -> Tensor:
    """The parameters of that name one behind the other; the parts share this memory from now on."""
    parameters = [getattr(part, name) for part in parts]
    whole = torch.cat([parameter.detach() for parameter in parameters])
    shares = whole.split([len(parameter) for parameter in parameters])
    for parameter, share in zip(parameters, shares, strict=True):
        parameter.data = share
    return whole


def _normed(hidden: Tensor, norm: Any) -> Tensor:
    return F.rms_norm(hidden, norm.weight.shape, norm.weight, norm.variance_epsilon)
