"""Request: one image to make, and what comes back."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

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
        tokens_T: int64, all cells of the grid, on the target's device; none after an error.
        commits: tokens of each forward in turn, the prompt's own first; all but the last of a
            forward were drafted and accepted.
        stats: what it cost; shared passes count for each image in them, seconds are not split.
        error: why there is no image; None where there is one.
    """

    ticket: int
    request: Request
    tokens_T: Tensor
    commits: list[int]
    stats: Stats
    error: str | None = None


@dataclass(frozen=True, kw_only=True)
class Progress:
    """An image in flight: the tokens it has so far, and `commits` as in `Finished`."""

    tokens_T: Tensor
    commits: list[int]


class Defaults(Protocol):
    """What a model says where a request says nothing."""

    @property
    def default_guidance(self) -> float: ...

    @property
    def default_sampler(self) -> SamplerConfig: ...


def new_requests(  # noqa: PLR0913  # each is a choice of the user
    prompts: str | Sequence[str],
    model: Defaults,
    *,
    seed: int,
    n: int,
    guidance: float | None,
    sampler: SamplerConfig | None,
    negative_prompt: str | None,
) -> list[Request]:
    """`n` requests of every prompt. ValueError where there are none, or a setting is wrong."""
    if n < 1:
        raise ValueError(f"n must be 1 or more, got {n}")
    made = [
        Request(
            prompt=prompt,
            seed=seed + copy,
            guidance=model.default_guidance if guidance is None else guidance,
            sampler=sampler or model.default_sampler,
            negative_prompt=negative_prompt,
        )
        for prompt in ([prompts] if isinstance(prompts, str) else prompts)
        for copy in range(n)
    ]
    if not made:
        raise ValueError("no prompts: give at least one")
    return made
