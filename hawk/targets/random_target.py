"""RandomTarget: a decoder of a published model's shape with random weights, to time it."""

from collections.abc import Sequence
from typing import Never

import torch
from torch import Tensor, nn
from transformers import AutoModel, LlamaConfig

from hawk.decoding.grid import Grid, Identity
from hawk.decoding.sampler import SamplerConfig
from hawk.decoding.target import Branches
from hawk.targets.catalogue import PROMPT_TOKENS, CatalogueEntry
from hawk.targets.decoder_target import DecoderTarget, TargetSpec


class RandomTarget(DecoderTarget):
    """Target whose passes cost what those of a published model cost; it makes no images.

    Every family is a Llama but for parts that cost next to nothing (norms of queries and keys,
    biases).

    Args:
        entry: Published model whose shape it has.
        dtype: Type of the weights.
        device: Device of the weights.
    """

    default_guidance = 1.0
    default_sampler = SamplerConfig()

    def __init__(self, entry: CatalogueEntry, *, dtype: torch.dtype, device: torch.device) -> None:
        height, width = entry.grid
        config = LlamaConfig(
            vocab_size=1,  # it reads no prompts
            hidden_size=entry.hidden,
            intermediate_size=entry.intermediate,
            num_hidden_layers=entry.layers,
            num_attention_heads=entry.hidden // entry.head_size,
            num_key_value_heads=entry.heads,
            head_dim=entry.head_size,
            max_position_embeddings=PROMPT_TOKENS + height * (width + 1),
            pad_token_id=None,
            bos_token_id=None,
            eos_token_id=None,
        )
        with device:
            self._model = AutoModel.from_config(config, dtype=dtype, attn_implementation="sdpa")
            self._embed = nn.Embedding(entry.vocabulary, entry.hidden, dtype=dtype)
            self._head = nn.Linear(entry.hidden, entry.vocabulary, bias=False, dtype=dtype)
        spec = TargetSpec(
            name=entry.name,
            grid=Grid(height=height, width=width),
            vocabulary=entry.vocabulary,
            prompt_limit=PROMPT_TOKENS,
        )
        super().__init__(spec, self._model.eval())
        self.identity = Identity(
            name=entry.name,
            revision="random weights",
            grid=self.grid,
            vocabulary=self.vocabulary,
            hidden_size=self.hidden_size,
            drafters={},
        )

    @property
    def read_bytes(self) -> int:
        """Bytes of the weights that every pass reads."""
        parts = [*self._model.layers.parameters(), self._head.weight]
        return sum(weight.numel() * weight.element_size() for weight in parts)

    @property
    def codebook_VD(self) -> Tensor:
        return self._embed.weight.detach().float()

    @property
    def head_VX(self) -> Tensor:
        return self._head.weight

    def encode(self, prompt: str, negative_prompt: str | None = None) -> Branches:
        return [[0] * PROMPT_TOKENS] * 2

    def embed_prompts(self, rows: Sequence[list[int]]) -> tuple[Tensor, Tensor]:
        ids_RE = torch.tensor(rows, device=self.device)
        return self._embed(ids_RE), torch.full((len(rows),), ids_RE.shape[1], device=self.device)

    def embed_image(self, tokens_BN: Tensor) -> Tensor:
        return self._embed(tokens_BN)

    def head(self, hidden_RND: Tensor) -> Tensor:
        return self._head(hidden_RND)

    def pixels(self, tokens_BT: Tensor) -> Never:
        raise ValueError(f"{self.name} with random weights makes no pictures")
