"""Pictures: results of a call of a pipeline, on the way and in the end."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from hawk.decoding.request import Request
from hawk.decoding.stats import Stats
from hawk.decoding.target import Target

NEUTRAL = 127  # grey value of rows that are not done


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One finished image.

    Attributes:
        place: Index of its request among those of the call.
        request: Prompt, seed and settings; they make the same image again.
        image: RGB image.
        tokens: Tokens in raster order.
        commits: Number of tokens of each forward in turn; all but the last of a forward were
            drafted.
        stats: Cost of the image.
    """

    place: int
    request: Request
    image: Image.Image
    tokens: list[int]
    commits: list[int]
    stats: Stats


@dataclass(frozen=True, kw_only=True)
class Failure:
    """An image that could not be made, while others were.

    Attributes:
        place: Index of its request among those of the call.
        request: Request that failed.
        error: Reason, one sentence.
    """

    place: int
    request: Request
    error: str


@dataclass(frozen=True, kw_only=True)
class Step:
    """An image after a step, for a callback.

    Attributes:
        place: Index of its request among those of the call.
        request: Request of the image.
        commits: Number of tokens of each forward so far, in turn.
        tokens_T: int64, tokens so far in raster order, on the target's device.
        draw: Function from tokens, which may be too few, to a picture.
    """

    place: int
    request: Request
    commits: list[int]
    tokens_T: Tensor = field(repr=False)
    draw: Callable[[Tensor], Image.Image] = field(repr=False)

    @property
    def tokens(self) -> list[int]:
        """Tokens so far in raster order."""
        return self.tokens_T.tolist()

    def image(self) -> Image.Image:
        """Picture of the rows that are done, the others grey. Takes a pass of the image decoder."""
        return self.draw(self.tokens_T)


Callback = Callable[[Step], bool | None]  # True stops the image


@dataclass(frozen=True, kw_only=True)
class Result:
    """All pictures in the order of their prompts, and what they cost together.

    Attributes:
        pictures: Pictures in the order of their prompts, without images that failed or were
            stopped.
        failures: Images that could not be made.
        stats: Counts of the whole call.
        seconds: Time from the first prompt to the last picture.
        model, drafter, rule: Names of what made them.
        exact: True where the images have the law of the model alone.
    """

    pictures: list[Picture]
    failures: list[Failure] = field(default_factory=list)
    stats: Stats
    seconds: float
    model: str
    drafter: str
    rule: str
    exact: bool

    @property
    def images(self) -> list[Image.Image]:
        return [picture.image for picture in self.pictures]

    def summary(self) -> dict[str, Any]:
        """Cost of the call, ready for JSON."""
        return {
            "model": self.model,
            "drafter": self.drafter,
            "rule": self.rule,
            "exact": self.exact,
            "tokens": self.stats.tokens,
            "forwards": self.stats.forwards,
            "tokens_per_forward": round(self.stats.tokens_per_forward, 3),
            "nodes_per_forward": round(self.stats.nodes_per_forward, 2),
            "seconds": round(self.seconds, 3),
            "images_per_second": round(len(self.pictures) / self.seconds, 4),
        }


def collected(
    stream: Iterable[Picture | Failure], each: Callable[[Picture], object]
) -> tuple[list[Picture], list[Failure]]:
    """Pictures and failures in the order of their requests; `each` is called as they come."""
    pictures: list[Picture] = []
    failures: list[Failure] = []
    for made in stream:
        if isinstance(made, Failure):
            failures.append(made)
        else:
            each(made)
            pictures.append(made)
    by_place = attrgetter("place")
    return sorted(pictures, key=by_place), sorted(failures, key=by_place)


@torch.inference_mode()
def partial_pixels(target: Target, tokens_T: Tensor) -> Tensor:
    """Pixels uint8 [height, width, 3] of an image's tokens so far: whole rows are drawn, others
    are grey."""
    height, width = target.grid.height, target.grid.width
    done = len(tokens_T) // width
    rows_HW = tokens_T[: done * width].view(done, width)
    # The decoder needs a whole grid: the last row is repeated below itself.
    padding = (
        rows_HW[-1:].expand(height - done, width) if done else rows_HW.new_zeros(height, width)
    )
    pixels = target.pixels(torch.cat([rows_HW, padding]).reshape(1, -1))[0]
    pixels[len(pixels) * done // height :] = NEUTRAL
    return pixels
