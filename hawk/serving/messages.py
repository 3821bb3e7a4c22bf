"""Messages between ingress and model replicas: plain data, so that an ingress never loads torch."""

from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

P = TypeVar("P")  # a picture: uint8 array [height, width, 3] in the engine, an encoded file after

Format = Literal["png", "jpeg", "webp"]
Reason = Literal["invalid", "failed", "overloaded", "deadline", "closing", "broken"]


@dataclass(frozen=True, kw_only=True)
class Card:
    """Facts of a model replica for clients.

    Attributes:
        model: Name that clients give.
        width, height: Size of the images, in pixels.
        columns, rows: Size of the token grid.
        drafters: Names of the drafters, the default first.
        rule, exact: Those of `hawk generate`.
        created: Unix time of loading.
        settings: Fingerprint of the settings that it was started with.
    """

    model: str
    width: int
    height: int
    columns: int
    rows: int
    drafters: tuple[str, ...]
    rule: str
    exact: bool
    created: int
    settings: str


@dataclass(frozen=True, kw_only=True)
class ImageJob:
    """One image to make. Where None, the model's own default.

    Attributes:
        prompt, negative_prompt, seed, guidance, temperature, top_k, top_p: Those of `hawk.Request`.
        drafter: Name of one of the card's drafters.
        streamed: True where somebody hears what comes before the last message.
        parts: Number of pictures to show on the way, at most one a row; 0 unless streamed.
        format, quality: Format of the picture, and its quality, 0-100, for jpeg and webp only.
        deadline_s: Seconds until it is given up, waiting included.
    """

    prompt: str
    negative_prompt: str | None
    seed: int
    guidance: float | None
    temperature: float | None
    top_k: int | None
    top_p: float | None
    drafter: str
    streamed: bool
    parts: int
    format: Format
    quality: int | None
    deadline_s: float


@dataclass(frozen=True, kw_only=True)
class Admitted:
    """The image waits for a slot or has one; its prompt takes that many tokens."""

    prompt_tokens: int


@dataclass(frozen=True, kw_only=True)
class Partial(Generic[P]):
    """The rows that are done, the rest neutral.

    Attributes:
        place: Index among the pictures of one image; some may be left out.
        picture: Picture of the whole size.
        commits: Those of `hawk.decoding.request.Finished`, so far.
    """

    place: int
    picture: P
    commits: list[int]


@dataclass(frozen=True, kw_only=True)
class Done(Generic[P]):
    """The image.

    Attributes:
        picture: Complete picture.
        tokens_sha256: Fingerprint of the tokens, as `hawk generate` prints it.
        tokens: Number of image tokens.
        commits: Those of `hawk.decoding.request.Finished`.
        seconds: Seconds since it was submitted.
    """

    picture: P
    tokens_sha256: str
    tokens: int
    commits: list[int]
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Refused:
    """No image.

    Attributes:
        reason: One of invalid (the request), failed (the model makes no image of it, and would not
            the next time), overloaded (too many wait), deadline (it passed), closing (the replica
            leaves), broken (the replica failed; another may do).
        message: Sentence for the client.
        param: Name of the field that is invalid.
        retry_after_s: Seconds after which to try again, where that makes sense.
    """

    reason: Reason
    message: str
    param: str | None = None
    retry_after_s: float | None = None
