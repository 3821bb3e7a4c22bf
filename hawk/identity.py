"""Identity: what a drafter has to know of the target that it drafts for."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hawk.grid import Grid


@dataclass(frozen=True, kw_only=True)
class Identity:
    """A target, seen from outside.

    Attributes:
        name: what it was loaded as.
        revision: fingerprint of its weights; trained drafters fit exactly one.
        grid: of the image it makes.
        vocabulary: number of image tokens.
        hidden_size: of its last hidden states.
        drafters: folders of trained drafters by kind.
    """

    name: str
    revision: str
    grid: Grid
    vocabulary: int
    hidden_size: int
    drafters: Mapping[str, Path]
