"""Target protocol: the big model, seen as a source of guided image logits."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from hawk.decoding.cache import Cache
from hawk.decoding.grid import Grid, Identity
from hawk.decoding.sampler import SamplerConfig
from hawk.decoding.tree import Tree

Branches = list[list[int]]  # token ids of a prompt's branches, conditional first


@dataclass(frozen=True, kw_only=True)
class Output:
    """Output of a forward for every node.

    Attributes:
        logits_BNV: float32, logits over the image vocabulary after guidance.
        hidden_BND: Last hidden states of the conditional branch.
    """

    logits_BNV: Tensor
    hidden_BND: Tensor


class Target(Protocol):
    """A model that writes an image as a raster of discrete tokens.

    Attributes:
        name: Name by which it was loaded.
        grid: Grid of its images.
        vocabulary: Number of image tokens.
        hidden_size: Size of its hidden states.
        prompt_limit: Tokens of the longest prompt.
        default_guidance: Guidance scale of the model's own settings or official script.
        default_sampler: Sampler settings from the same source.
        identity: What its drafters have to know; a `Pipeline` does without.
    """

    name: str
    grid: Grid
    vocabulary: int
    hidden_size: int
    prompt_limit: int
    default_guidance: float
    default_sampler: SamplerConfig
    identity: Identity

    @property
    def device(self) -> torch.device: ...

    @property
    def codebook_VD(self) -> Tensor:
        """Vectors that the image decoder reads for each token, for rules that compare tokens."""
        ...

    @property
    def embeddings_VX(self) -> Tensor:
        """Embeddings of the image tokens, from which training of a drafter starts."""
        ...

    @property
    def head_VX(self) -> Tensor:
        """Last matrix of the image head, from which training of a drafter starts."""
        ...

    def encode(self, prompt: str, negative_prompt: str | None = None) -> Branches:
        """Token ids of the whole prompt form, for the conditional branch and the other one.

        ValueError where they are more than the limit, and for a negative prompt where the model
        reads none.
        """
        ...

    def new_cache(
        self, *, slots: int, branches: int, nodes: int, fixed_shape: bool = False
    ) -> Cache:
        """Memory for `slots` images and trees of up to `nodes` nodes.

        With `fixed_shape`, every pass is padded to `slots` images and `nodes` nodes.
        """
        ...

    def prefill(
        self, prompts: Sequence[Branches], slots: range, guidance_B: Tensor, cache: Cache
    ) -> Output:
        """Write prompts into fresh slots; the output's one node yields the first image token."""
        ...

    def forward(self, tree: Tree, guidance_B: Tensor, cache: Cache) -> Output:
        """Make one pass over the trees of the first B slots."""
        ...

    def pixels(self, tokens_BT: Tensor) -> Tensor:
        """uint8 images [B, height, width, 3] of complete token grids."""
        ...


def identity_of(target: Target) -> Identity:
    """The target's identity; without one, an identity of unknown weights, which no trained drafter
    fits. TypeError for an object that is no target."""
    names = [*Target.__annotations__, *(name for name in vars(Target) if not name.startswith("_"))]
    missing = [name for name in names if name != "identity" and not _has(target, name)]
    if missing:
        raise TypeError(
            f"{type(target).__name__} is no target, it has no {', '.join(missing)}: see "
            f"hawk.decoding.target.Target"
        )
    if _has(target, "identity"):
        return target.identity
    return Identity(
        name=target.name,
        revision="unknown",
        grid=target.grid,
        vocabulary=target.vocabulary,
        hidden_size=target.hidden_size,
        drafters={},
    )


def _has(target: object, name: str) -> bool:
    """Whether the object has an attribute; a property is not computed."""
    return hasattr(type(target), name) or hasattr(target, name)
