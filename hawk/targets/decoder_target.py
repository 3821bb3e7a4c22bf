"""DecoderTarget: what all families share; prompts and trees go through our decoder.

Transformers reads configurations, weights and tokenizers; its modules make no pass.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from hawk.decoding.cache import Cache, Layout, Room
from hawk.decoding.decoder import Decoder
from hawk.decoding.grid import Grid, Identity
from hawk.decoding.sampler import SamplerConfig
from hawk.decoding.target import Branches, Output
from hawk.decoding.tree import Tree
from hawk.targets import guidance
from hawk.targets.row_ends import RowEndCache, image_entries

# Variants of compiled code: one row, one node and some layouts of tensors each take one.
RECOMPILE_LIMIT = 32
PROMPT_LIMIT = 512  # default number of tokens, which all need memory


@dataclass(frozen=True, kw_only=True)
class TargetSpec:
    """Attributes of a Target. The prompt limit is the number of tokens that the model has positions
    for."""

    name: str
    grid: Grid
    vocabulary: int
    prompt_limit: int


class DecoderTarget(ABC):
    """A Target around a decoder stack (`LlamaModel` and its kin).

    Args:
        spec: Attributes of the target.
        decoder: Decoder stack, a module of transformers.
        row_end: Embedding [D] of the token that the model writes after every row; None where it
            writes none.
    """

    identity: Identity  # set by `load_target`, which knows the files
    cache_type: type[Cache] = Cache  # class of caches without row ends
    default_guidance: float
    default_sampler: SamplerConfig

    def __init__(self, spec: TargetSpec, decoder: Any, row_end: Tensor | None = None) -> None:
        self.name, self.grid, self.vocabulary = spec.name, spec.grid, spec.vocabulary
        self.prompt_limit, self._most_tokens = (
            min(spec.prompt_limit, PROMPT_LIMIT),
            spec.prompt_limit,
        )
        if spec.prompt_limit < 1:
            positions = decoder.config.max_position_embeddings
            raise ValueError(
                f"{spec.name} has {positions} positions, too few for an image of "
                f"{spec.grid.height} x {spec.grid.width} tokens: ask for a smaller size"
            )
        self._decoder = Decoder(decoder)
        self._row_end_D, self.hidden_size = row_end, self._decoder.hidden_size

    def limit_prompts(self, tokens: int) -> None:
        """Set the longest prompt to `tokens` tokens. ValueError where the model cannot read it."""
        if not 1 <= tokens <= self._most_tokens:
            raise ValueError(
                f"the prompt limit of {self.name} must be from 1 to {self._most_tokens} tokens, "
                f"got {tokens}"
            )
        self.prompt_limit = tokens

    @property
    @abstractmethod
    def codebook_VD(self) -> Tensor: ...

    @abstractmethod
    def encode(self, prompt: str, negative_prompt: str | None = None) -> Branches: ...

    @abstractmethod
    def pixels(self, tokens_BT: Tensor) -> Tensor: ...

    @abstractmethod
    def embed_prompts(self, rows: Sequence[list[int]]) -> tuple[Tensor, Tensor]:
        """Embeddings [R, E, D] padded on the right, and lengths int64 [R]."""

    @abstractmethod
    def embed_image(self, tokens_BN: Tensor) -> Tensor:
        """Embeddings [B, N, D] of image tokens."""

    @abstractmethod
    def head(self, hidden_RND: Tensor) -> Tensor:
        """Logits [R, N, V] over the image vocabulary."""

    @property
    @abstractmethod
    def head_VX(self) -> Tensor: ...

    @property
    @torch.inference_mode()
    def embeddings_VX(self) -> Tensor:
        codes_1V = torch.arange(self.vocabulary, device=self.device)[None]
        return self.embed_image(codes_1V)[0]

    @property
    def device(self) -> torch.device:
        return self._decoder.device

    @property
    def layout(self) -> Layout:
        """Keys and values of one token."""
        return self._decoder.layout

    def compile(self, backend: str = "inductor") -> None:
        """Compile the layers by torch, one piece of code for all of them and all sizes of trees.

        Norms, rotations and sums are dozens of kernels a layer, and a few once compiled. The first
        passes wait for the compiler.

        Args:
            backend: Backend of `torch.compile`.

        RuntimeError where there is no C++ compiler for the backend `inductor`.
        """
        if backend == "inductor":
            _require_compiler()
        torch._dynamo.config.recompile_limit = RECOMPILE_LIMIT  # pyright: ignore[reportPrivateUsage]
        for layer in self._decoder.layers:
            layer.compile(dynamic=True, backend=backend)

    def new_cache(
        self, *, slots: int, branches: int, nodes: int, fixed_shape: bool = False
    ) -> Cache:
        row_ends = self._row_end_D is not None
        kind = partial(RowEndCache, width=self.grid.width) if row_ends else self.cache_type
        image = image_entries(self.grid, nodes, row_ends=row_ends)
        return kind(
            self.layout,
            slots=slots,
            branches=branches,
            room=Room(prompt_limit=self.prompt_limit, image=image),
            entries=nodes * (1 + row_ends) if fixed_shape else None,
        )

    @torch.inference_mode()
    def prefill(
        self, prompts: Sequence[Branches], slots: range, guidance_B: Tensor, cache: Cache
    ) -> Output:
        if cache.entries is not None and len(slots) > 1:  # shapes are those of each prompt alone
            alone = [
                self.prefill([prompt], range(slot, slot + 1), scale, cache)
                for prompt, slot, scale in zip(prompts, slots, guidance_B.split(1), strict=True)
            ]
            return Output(
                logits_BNV=torch.cat([output.logits_BNV for output in alone]),
                hidden_BND=torch.cat([output.hidden_BND for output in alone]),
            )
        embeds_RED, lengths_R = self.embed_prompts(guidance.rows(prompts, cache.branches))
        lengths_BG = lengths_R.view(len(slots), cache.branches)
        positions_RE, mask_R1EE = cache.begin_prompts(slots, lengths_BG)
        hidden_RED = self._decoder(embeds_RED, positions_RE, mask_R1EE, cache)
        last_RD = hidden_RED[torch.arange(len(hidden_RED), device=self.device), lengths_R - 1]
        return self._output(last_RD[:, None], guidance_B, cache)

    @torch.inference_mode()
    def forward(self, tree: Tree, guidance_B: Tensor, cache: Cache) -> Output:
        inputs = [tree.tokens_BN, guidance_B, *cache.begin_tree(tree)]
        if isinstance(cache, RowEndCache) and cache.law_BN is not None:
            inputs.append(cache.law_BN)
        compute = partial(self._pass, cache)
        if cache.graphs is None:
            logits_BNV, hidden_BND = compute(*inputs)
        else:
            logits_BNV, hidden_BND = cache.graphs.run(compute, tuple(inputs), cache.visible)
        return Output(logits_BNV=logits_BNV, hidden_BND=hidden_BND)

    def _pass(
        self,
        cache: Cache,
        tokens_BN: Tensor,
        guidance_B: Tensor,
        depths_BE: Tensor,
        ancestors_BEE: Tensor,
        law_BN: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Logits and hidden states of a tree that the cache has begun. The computation depends on
        shapes alone, so that a graph may replay it."""
        positions_RE, mask_R1EU = cache.place(depths_BE, ancestors_BEE)
        rows, nodes = tokens_BN.shape
        entries_BED = self.embed_image(tokens_BN)
        if self._row_end_D is not None:
            ends = self._row_end_D.expand(rows, depths_BE.shape[1] - nodes, -1)
            entries_BED = torch.cat([entries_BED, ends], 1)
        entries_RED = entries_BED.repeat_interleave(cache.branches, 0)
        if cache.entries is not None:
            padded_rows, entries = positions_RE.shape
            more = (0, entries - entries_RED.shape[1], 0, padded_rows - len(entries_RED))
            entries_RED = F.pad(entries_RED, (0, 0, *more))
            guidance_B = F.pad(guidance_B, (0, cache.slots - rows))
        hidden_RED = self._decoder(entries_RED, positions_RE, mask_R1EU, cache)
        if law_BN is None:
            hidden_RND = hidden_RED
        else:
            law_RN1 = law_BN.repeat_interleave(cache.branches, 0)[..., None]
            hidden_RND = hidden_RED.gather(1, law_RN1.expand(-1, -1, hidden_RED.shape[2]))
        output = self._output(hidden_RND, guidance_B, cache)
        return output.logits_BNV[:rows, :nodes], output.hidden_BND[:rows, :nodes]

    def _output(self, hidden_RND: Tensor, guidance_B: Tensor, cache: Cache) -> Output:
        logits = guidance.mix(self.head(hidden_RND), guidance_B, cache.branches)
        return Output(logits_BNV=logits, hidden_BND=hidden_RND[:: cache.branches])


def to_uint8(images_B3HW: Tensor) -> Tensor:
    """Images with values from -1 to 1 as uint8 [B, H, W, 3]."""
    scaled = images_B3HW.float().add(1).mul(127.5).round().clamp(0, 255)
    return scaled.to(torch.uint8).permute(0, 2, 3, 1)


def _require_compiler() -> None:
    # Else torch would look for it in the first pass, and its error has many lines.
    from torch._inductor.cpp_builder import get_cpp_compiler
    from torch._inductor.exc import InvalidCxxCompiler

    try:
        get_cpp_compiler()
    except InvalidCxxCompiler as error:
        raise RuntimeError(
            "compiling layers needs a C++ compiler: install g++ or clang, or set CXX to one"
        ) from error
