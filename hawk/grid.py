"""Grid: the raster geometry of an image made of tokens."""

from dataclasses import dataclass


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
