"""Request: one image to make, and what comes back."""

from dataclasses import dataclass, field

from torch import Tensor

from hawk.noise import SEED_LIMIT
from hawk.sampler import SamplerConfig
from hawk.stats import Stats


@dataclass(frozen=True, kw_only=True)
class Request:
    """One image to make.

    Attributes:
        prompt: what it shows.
        seed: 0 <= seed < 2**63; the same seed gives the same image.
        guidance: scale of classifier-free guidance; 1 is none.
        sampler: temperature, top-k, top-p.
        negative_prompt: what guidance leads away from, for models that read one; None is theirs.
    """

    prompt: str
    seed: int
    guidance: float
    sampler: SamplerConfig = field(default_factory=SamplerConfig)
    negative_prompt: str | None = None

    def __post_init__(self) -> None:
        if not self.prompt.strip():
            raise ValueError("the prompt is empty: say what the image should show")
        if not 0 <= self.seed < SEED_LIMIT:
            raise ValueError(f"seed must be between 0 and 2**63 - 1, got {self.seed}")
        if not 1 <= self.guidance < float("inf"):
            raise ValueError(f"guidance must be 1 (none) or more, got {self.guidance}")


@dataclass(frozen=True, kw_only=True)
class Finished:
    """A complete image.

    Attributes:
        ticket: as `Session.submit` returned it.
        request: what was asked.
        tokens_T: int64, all cells of the grid, on the target's device.
        commits: tokens of each forward in turn, the prompt's own first; all but the last of a
            forward were drafted and accepted.
        stats: what it cost; shared passes count for each image in them, seconds are not split.
    """

    ticket: int
    request: Request
    tokens_T: Tensor
    commits: list[int]
    stats: Stats


@dataclass(frozen=True, kw_only=True)
class Progress:
    """An image in flight: the tokens it has so far, and `commits` as in `Finished`."""

    tokens_T: Tensor
    commits: list[int]
