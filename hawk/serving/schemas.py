"""Schemas of the images API: OpenAI's fields, and Hawk's."""

import secrets
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from hawk.decoding.bounds import (
    LEAST_GUIDANCE,
    LEAST_TEMPERATURE,
    MOST_GUIDANCE,
    MOST_TEMPERATURE,
    MOST_TOP_K,
    SEED_LIMIT,
)
from hawk.serving.config import LimitConfig
from hawk.serving.errors import invalid
from hawk.serving.messages import Card, Format, ImageJob

RANDOM_SEED_BITS = 53  # a number that JavaScript can repeat
EVERY_ROW = 1_000_000  # more parts than any grid has rows


class ImageRequest(BaseModel):
    """Body of POST /v1/images/generations. A field that is null counts as absent."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    prompt: Annotated[str, Field(min_length=1, description="What the image shows.")]
    model: str | None = None
    n: Annotated[int, Field(ge=1, le=10, description="Images, with seeds seed, seed + 1, ...")] = 1
    size: Annotated[str, Field(description="auto, or the size that the model makes.")] = "auto"
    stream: Annotated[bool, Field(description="Answer with server-sent events.")] = False
    partial_images: Annotated[
        int, Field(ge=0, le=3, description="Pictures on the way, streaming only.")
    ] = 0
    response_format: Annotated[
        Literal["b64_json", "url"], Field(description="b64_json; url is refused.")
    ] = "b64_json"
    output_format: Format = "png"
    output_compression: Annotated[
        int | None,
        Field(ge=0, le=100, description="Quality of jpeg and webp; no effect on png."),
    ] = None
    background: Annotated[
        Literal["auto", "opaque", "transparent"], Field(description="transparent is refused.")
    ] = "auto"
    quality: Annotated[
        str, Field(max_length=64, description="No effect: the model has one quality.")
    ] = "auto"
    complexity: Annotated[
        Literal["low", "medium", "high"] | None, Field(description="No effect.")
    ] = None
    style: Annotated[
        Literal["vivid", "natural"] | None, Field(description="No effect: say it in the prompt.")
    ] = None
    moderation: Annotated[
        Literal["auto", "low"], Field(description="No effect: nothing is moderated here.")
    ] = "auto"
    user: Annotated[str | None, Field(max_length=256, description="No effect; not logged.")] = None
    safety_identifier: Annotated[
        str | None, Field(max_length=256, description="No effect; not logged.")
    ] = None

    seed: Annotated[
        int | None,
        Field(ge=-1, lt=SEED_LIMIT, description="The same seed, the same image; -1 draws one."),
    ] = None
    negative_prompt: Annotated[
        str | None, Field(description="What to lead away from, for models that read one.")
    ] = None
    guidance_scale: Annotated[
        float | None, Field(ge=LEAST_GUIDANCE, le=MOST_GUIDANCE, description="1 is none.")
    ] = None
    temperature: Annotated[
        float | None,
        Field(ge=0, le=MOST_TEMPERATURE, description=f"0, or {LEAST_TEMPERATURE} and more."),
    ] = None
    top_k: Annotated[int | None, Field(ge=0, le=MOST_TOP_K, description="0 keeps all.")] = None
    top_p: Annotated[float | None, Field(gt=0, le=1)] = None
    drafter: Annotated[
        str, Field(description="How it is sped up; an exact rule makes the same image with any.")
    ] = "auto"
    every_row: Annotated[
        bool, Field(description="A picture after every row, instead of partial_images.")
    ] = False

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, raw: Any) -> Any:
        if isinstance(raw, dict):
            return {name: value for name, value in raw.items() if value is not None}
        return raw

    @field_validator("*")
    @classmethod
    def _encodable(cls, value: Any) -> Any:
        if isinstance(value, str):
            value.encode()  # UnicodeEncodeError, a ValueError: JSON can hold half a character
        return value


def image_jobs(request: ImageRequest, card: Card, limits: LimitConfig) -> list[ImageJob]:
    """One job an image. ApiError 400 for what this model, or this service, does not do."""
    _check(request, card, limits)
    seed = request.seed
    if seed is None or seed == -1:
        seed = secrets.randbits(RANDOM_SEED_BITS)
    if seed + request.n > SEED_LIMIT:
        raise invalid("seed", f"seed + n must be at most 2**63, got {seed} + {request.n}")
    parts = (EVERY_ROW if request.every_row else request.partial_images) if request.stream else 0
    return [
        ImageJob(
            prompt=request.prompt,
            negative_prompt=request.negative_prompt,
            seed=seed + copy,
            guidance=request.guidance_scale,
            temperature=request.temperature,
            top_k=request.top_k,
            top_p=request.top_p,
            drafter=card.drafters[0] if request.drafter == "auto" else request.drafter,
            streamed=request.stream,
            parts=parts,
            format=request.output_format,
            quality=None if request.output_format == "png" else request.output_compression,
            deadline_s=limits.seconds,
        )
        for copy in range(request.n)
    ]


def _check(request: ImageRequest, card: Card, limits: LimitConfig) -> None:
    size = f"{card.width}x{card.height}"
    if request.size not in ("auto", size):
        raise invalid("size", f"{card.model} makes {size}, got {request.size!r}: use that or auto")
    if request.n > limits.images:
        raise invalid("n", f"n must be {limits.images} or less here, got {request.n}")
    if not request.prompt.strip():
        raise invalid("prompt", "the prompt is empty: say what the image should show")
    for field, text in (("prompt", request.prompt), ("negative_prompt", request.negative_prompt)):
        if text is not None and len(text) > limits.prompt_chars:
            message = f"the {field} has {len(text)} characters, {limits.prompt_chars} are the most"
            raise invalid(field, message.replace("_", " "))
    known = ("auto", *card.drafters)
    if request.drafter not in known:
        raise invalid("drafter", f"choose from {', '.join(known)}, got {request.drafter!r}")
    if request.temperature is not None and 0 < request.temperature < LEAST_TEMPERATURE:
        least = f"0 or at least {LEAST_TEMPERATURE}"
        raise invalid("temperature", f"temperature must be {least}, got {request.temperature}")
    _refuse(request)


def _refuse(request: ImageRequest) -> None:
    """What OpenAI has a field for and this service does not do."""
    if request.response_format == "url":
        raise invalid("response_format", "images are not stored here, so there is no url: b64_json")
    if request.background == "transparent":
        raise invalid("background", "the model makes opaque images only: use opaque or auto")


class InputDetails(BaseModel):
    text_tokens: int
    image_tokens: int = 0


class Usage(BaseModel):
    """Tokens; those of the prompt count once for each image."""

    input_tokens: int
    output_tokens: int
    total_tokens: int
    input_tokens_details: InputDetails


class GenerationInfo(BaseModel):
    """Seed, rule and counts behind an image.

    Attributes:
        seed, drafter: Settings that make it again.
        rule, exact, tokens_sha256, tokens, forwards, tokens_per_forward: Those of `hawk generate`.
        commits: Number of tokens of each forward; all but the last of each were drafted.
        seconds: Seconds in the engine, waiting included.
    """

    seed: int
    drafter: str
    rule: str
    exact: bool
    tokens_sha256: str
    tokens: int
    forwards: int
    tokens_per_forward: float
    commits: list[int]
    seconds: float


class ImageData(BaseModel):
    b64_json: str
    hawk: GenerationInfo


class ImageResponse(BaseModel):
    created: int
    data: list[ImageData]
    background: str
    output_format: str
    size: str
    quality: str
    usage: Usage


class Model(BaseModel):
    """A model, with what Hawk adds: its size in pixels and tokens, and its drafters."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "hawk"
    sizes: list[str]
    grid: Annotated[list[int], Field(description="Columns and rows, in tokens.")]
    drafters: list[str]

    @classmethod
    def of(cls, card: Card) -> "Model":
        return cls(
            id=card.model,
            created=card.created,
            sizes=[f"{card.width}x{card.height}"],
            grid=[card.columns, card.rows],
            drafters=list(card.drafters),
        )


class Models(BaseModel):
    object: Literal["list"] = "list"
    data: list[Model]


class ErrorDetails(BaseModel):
    message: str
    type: str
    param: str | None
    code: str | None


class ErrorResponse(BaseModel):
    error: ErrorDetails
