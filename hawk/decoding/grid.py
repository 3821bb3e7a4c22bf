"""Grid: the raster of an image's tokens; Identity: facts about the target that makes it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Height x width cells in raster order: step t is the cell (t // width, t % width)."""

    height: int
    width: int

    def __post_init__(self) -> None:
        if self.height < 1 or self.width < 1:
            raise ValueError(f"a grid needs at least one cell, got {self.height} x {self.width}")

    @property
    def cells(self) -> int:
        return self.height * self.width


@dataclass(frozen=True, kw_only=True)
class Identity:
    """Facts about a target that its drafters have to know.

    Attributes:
        name: Name by which it was loaded.
        revision: Fingerprint of its weights; trained drafters fit exactly one.
        grid: Grid of its images.
        vocabulary: Number of image tokens.
        hidden_size: Size of its last hidden states.
        drafters: Folders of trained drafters, by kind.
    """

    name: str
    revision: str
    grid: Grid
    vocabulary: int
    hidden_size: int
    drafters: Mapping[str, Path]
