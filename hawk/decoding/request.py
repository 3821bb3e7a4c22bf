"""Request: one image to make; Finished and Progress: the image when done, and on the way."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from torch import Tensor

from hawk.decoding import bounds
from hawk.decoding.sampler import SamplerConfig
from hawk.decoding.stats import Stats

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Request:
    """One image to make. ValueError where a value is out of the bounds of `hawk.decoding.bounds`.

    Attributes:
        prompt: Text of what the image shows.
        seed: Seed of its noise, 0 <= seed < 2**63; the same seed gives the same image.
        guidance: Scale of classifier-free guidance; 1 is none.
        sampler: Temperature, top-k and top-p.
        negative_prompt: Text that guidance leads away from, for models that read one; None is the
            model's own.
    """

    prompt: str
    seed: int
    guidance: float
    sampler: SamplerConfig = field(default_factory=SamplerConfig)
    negative_prompt: str | None = None

    def __post_init__(self) -> None:
        if not _text("prompt", self.prompt).strip():
            raise ValueError("the prompt is empty: say what the image should show")
        if self.negative_prompt is not None:
            _text("negative prompt", self.negative_prompt)
        # Plain numbers instead of numpy's; the dataclass is frozen.
        object.__setattr__(self, "seed", bounds.seed(self.seed))
        object.__setattr__(self, "guidance", bounds.guidance(self.guidance))
        sampler: Any = self.sampler
        if not isinstance(sampler, SamplerConfig):
            raise ValueError(f"sampler must be a SamplerConfig, got {sampler!r}")


def _text(name: str, text: Any) -> str:
    """The text itself. ValueError where it is no text, or one that no tokenizer can read."""
    if not isinstance(text, str):
        raise ValueError(f"the {name} must be text, got {text!r}")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"the {name} holds half a character ({error}): take it out") from error
    return text


@dataclass(frozen=True, kw_only=True)
class Finished:
    """An image that is complete, or has failed.

    Attributes:
        ticket: Ticket that `submit` returned for it.
        request: Request that it answers.
        tokens_T: int64, tokens of all cells, on the target's device; empty after an error.
        commits: Number of tokens of each forward in turn, the prompt's first; all but the last
            token of a forward were drafted and accepted.
        stats: Cost of the image; a shared pass counts for each image in it, without its seconds.
        error: Reason why there is no image; None where there is one.
    """

    ticket: int
    request: Request
    tokens_T: Tensor
    commits: list[int]
    stats: Stats
    error: str | None = None


@dataclass(frozen=True, kw_only=True)
class Progress:
    """An image in flight: its tokens so far, and `commits` as in `Finished`."""

    tokens_T: Tensor
    commits: list[int]


class Defaults(Protocol):
    """Settings of a model that hold where a request has none."""

    @property
    def default_guidance(self) -> float: ...

    @property
    def default_sampler(self) -> SamplerConfig: ...


Each = T | Sequence[T]  # one value for all prompts, or one a prompt


def new_requests(  # noqa: PLR0913  # each is a choice of the user
    prompts: str | Iterable[str],
    model: Defaults,
    *,
    seed: Each[int],
    n: int,
    guidance: Each[float | None],
    sampler: Each[SamplerConfig | None],
    negative_prompt: Each[str | None],
) -> list[Request]:
    """`n` requests of every prompt, with seeds from its seed on.

    What is None is the model's own. ValueError where there are no prompts, a setting is wrong, or a
    sequence of settings is not as long as the prompts.
    """
    texts = [prompts] if isinstance(prompts, str) else list(prompts)
    if not texts:
        raise ValueError("no prompts: give at least one")
    if bounds.whole("n", n) < 1:
        raise ValueError(f"n must be 1 or more, got {n}")
    rows = zip(
        texts,
        _each("seed", seed, len(texts)),
        _each("guidance", guidance, len(texts)),
        _each("sampler", sampler, len(texts)),
        _each("negative_prompt", negative_prompt, len(texts)),
        strict=True,
    )
    return [
        Request(
            prompt=text,
            seed=bounds.seed(first) + copy,
            guidance=model.default_guidance if scale is None else scale,
            sampler=model.default_sampler if config is None else config,
            negative_prompt=negative,
        )
        for text, first, scale, config, negative in rows
        for copy in range(n)
    ]


def _each(name: str, value: Any, prompts: int) -> list[Any]:
    """A value a prompt."""
    try:
        values = [value] * prompts if isinstance(value, str) else list(value)
    except TypeError:  # one for all
        return [value] * prompts
    if len(values) != prompts:
        raise ValueError(
            f"{name} has {len(values)} values for {prompts} prompts: give one for all, or one a "
            f"prompt"
        )
    return values
