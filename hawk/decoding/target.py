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
    """What a forward returns for every node.

    Attributes:
        logits_BNV: float32, after guidance, image vocabulary only.
        hidden_BND: last hidden states of the conditional branch.
    """

    logits_BNV: Tensor
    hidden_BND: Tensor


class Target(Protocol):
    """A model that writes an image as a raster of discrete tokens.

    Attributes:
        name: what it was loaded as.
        grid: of the image it makes.
        vocabulary: V, number of image tokens.
        hidden_size: D.
        prompt_limit: longest prompt in tokens.
        default_guidance, default_sampler: of the model's own settings or official script.
        identity: what its drafters have to know; a `Pipeline` does without.
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
        """What the image decoder sees of each token, for rules that ask how alike tokens look."""
        ...

    @property
    def embeddings_VX(self) -> Tensor:
        """Embeddings of the image tokens; drafters in training start from them."""
        ...

    @property
    def head_VX(self) -> Tensor:
        """Last matrix of the image head; drafters in training start from it."""
        ...

    def encode(self, prompt: str, negative_prompt: str | None = None) -> Branches:
        """Token ids of the whole prompt form, for the conditional branch and the other.

        ValueError where it is longer than the limit, and for a negative prompt where the model
        reads none.
        """
        ...

    def new_cache(
        self, *, slots: int, branches: int, nodes: int, fixed_shape: bool = False
    ) -> Cache:
        """Memory for `slots` images and trees of up to `nodes` nodes.

        With `fixed_shape`, every pass is padded to so many images and nodes.
        """
        ...

    def prefill(
        self, prompts: Sequence[Branches], slots: range, guidance_B: Tensor, cache: Cache
    ) -> Output:
        """Write prompts into fresh slots; the one node of the output is the first image token's."""
        ...

    def forward(self, tree: Tree, guidance_B: Tensor, cache: Cache) -> Output:
        """One pass over the trees of the first B slots."""
        ...

    def pixels(self, tokens_BT: Tensor) -> Tensor:
        """uint8 images [B, height, width, 3] of complete token grids."""
        ...


def identity_of(target: Target) -> Identity:
    """Its identity; of one that has none, that of unknown weights, which no trained drafter fits.

    TypeError for an object that is no target.
    """
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
    """Whether there is an attribute; a property is not computed for it."""
    return hasattr(type(target), name) or hasattr(target, name)
