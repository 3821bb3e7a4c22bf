"""The forward that every transformers decoder shares: prompts and trees in, hidden states out.

The decoder is the unmodified transformers module. It is given embeddings, explicit positions, a
4-D bool mask and our Cache, and must run `sdpa` attention (with eager attention a bool mask is
silently wrong).

Letters: R rows (branches of an image next to each other), B images, N nodes, P prompt, D hidden.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from hawk.cache import Cache, Layout
from hawk.tree import Tree


class Decoder:
    """A transformers decoder stack (`LlamaModel` and its kin) behind a Cache."""

    def __init__(self, module: nn.Module) -> None:
        self.config: Any = module.config
        attention = self.config._attn_implementation
        if attention != "sdpa":
            raise ValueError(f"the decoder must use sdpa attention, got {attention!r}")
        self._module = module

    def new_cache(self, *, slots: int, branches: int, capacity: int) -> Cache:
        config, weight = self.config, next(self._module.parameters())
        heads = config.num_attention_heads
        layout = Layout(
            layers=config.num_hidden_layers,
            heads=config.num_key_value_heads or heads,
            head_size=getattr(config, "head_dim", None) or config.hidden_size // heads,
            dtype=weight.dtype,
            device=weight.device,
        )
        return Cache(layout, slots=slots, branches=branches, capacity=capacity)

    def prefill(
        self, embeds_RPD: Tensor, lengths_R: Tensor, slots: Sequence[int], cache: Cache
    ) -> Tensor:
        """Prompts padded on the right; returns the hidden state of each row's last token [R, D]."""
        rows, longest, _ = embeds_RPD.shape
        cache.begin_prompts(slots, lengths_R.view(len(slots), cache.branches))
        places_P = torch.arange(longest, device=embeds_RPD.device)
        causal = (places_P[None, :] <= places_P[:, None]).expand(rows, 1, -1, -1)
        hidden = self._run(embeds_RPD, places_P.expand(rows, -1), causal, cache)
        return hidden[torch.arange(rows, device=hidden.device), lengths_R - 1]

    def forward(self, embeds_BND: Tensor, tree: Tree, cache: Cache) -> Tensor:
        """Hidden states [R, N, D] of the tree's nodes; every branch sees the same tokens."""
        positions_RN, mask_R1NC = cache.begin_tree(tree)
        embeds_RND = embeds_BND.repeat_interleave(cache.branches, 0)
        return self._run(embeds_RND, positions_RN, mask_R1NC, cache)

    def _run(self, embeds: Tensor, positions: Tensor, mask: Tensor, cache: Cache) -> Tensor:
        return self._module(
            inputs_embeds=embeds,
            position_ids=positions,
            attention_mask=mask,
            cache=cache,
            use_cache=True,
        ).last_hidden_state
