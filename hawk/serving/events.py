"""Events of several images as one stream, and as the bytes of server-sent events."""

import asyncio
import base64
import json
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any, Protocol

from hawk.serving.errors import ApiError
from hawk.serving.mailbox import Mailbox
from hawk.serving.messages import Admitted, Card, Done, ImageJob, Partial, Refused
from hawk.serving.schemas import GenerationInfo, ImageData, ImageRequest, InputDetails, Usage

Message = Admitted | Partial[bytes] | Done[bytes] | Refused
GRACE_S = 5  # the engine keeps the deadline; this is for what never reaches one


class Backend(Protocol):
    """Whatever makes images: a replica in this process, or those of a cluster."""

    async def card(self) -> Card:
        """ConnectionError where nobody can answer now."""
        ...

    def image(self, job: ImageJob) -> AsyncGenerator[Message, None]: ...

    async def metrics(self) -> dict[str, str]:
        """Prometheus text of every replica, by its name."""
        ...


async def merged(
    backend: Backend, jobs: Sequence[ImageJob]
) -> AsyncGenerator[tuple[int, Admitted | Partial[bytes] | Done[bytes]], None]:
    """What happens to all images, each message with the place of its job, until all are done.

    ApiError where one is refused: then the others are given up, as when this generator is closed.
    """
    messages: Mailbox[tuple[int, Message | Exception]] = Mailbox()
    tasks = [
        asyncio.create_task(_follow(backend, place, job, messages))
        for place, job in enumerate(jobs)
    ]
    try:
        missing = len(jobs)
        while missing:
            place, message = await messages.get()
            if isinstance(message, Refused):
                raise ApiError.of(message)
            if isinstance(message, Exception):
                raise message
            missing -= isinstance(message, Done)
            yield place, message
    finally:
        for task in tasks:
            task.cancel()


async def _follow(
    backend: Backend,
    place: int,
    job: ImageJob,
    messages: Mailbox[tuple[int, Message | Exception]],
) -> None:
    """All messages about one image for the reader; what goes wrong is the last of them."""
    try:
        async with asyncio.timeout(job.deadline_s + GRACE_S), aclosing(backend.image(job)) as told:
            async for message in told:
                spare_bytes = len(message.picture) if isinstance(message, Partial) else 0
                messages.put((place, message), spare_bytes)
    except TimeoutError:
        late = Refused(reason="deadline", message="no replica had time for the image")
        messages.put((place, late))
    except Exception as error:  # noqa: BLE001  raised again where somebody waits
        messages.put((place, error))


class Reply:
    """Turns messages into the parts of an answer.

    Args:
        request: Request of the client.
        jobs: Jobs of its images.
        card: Card of the model that makes them.
    """

    def __init__(self, request: ImageRequest, jobs: Sequence[ImageJob], card: Card) -> None:
        self._jobs, self._card = jobs, card
        self.created = int(time.time())
        self.common = {
            "background": "opaque",
            "output_format": request.output_format,
            "size": f"{card.width}x{card.height}",
            "quality": "standard",  # there is one, whatever was asked
        }

    def data(self, place: int, done: Done[bytes]) -> ImageData:
        return ImageData(b64_json=_base64(done.picture), hawk=self._generation(place, done))

    def usage(self, prompt_tokens: int, output_tokens: int) -> Usage:
        return Usage(
            input_tokens=prompt_tokens,
            output_tokens=output_tokens,
            total_tokens=prompt_tokens + output_tokens,
            input_tokens_details=InputDetails(text_tokens=prompt_tokens),
        )

    def partial(self, place: int, part: Partial[bytes]) -> bytes:
        body = self._event("image_generation.partial_image", place, part.picture)
        hawk = {"seed": self._jobs[place].seed, "commits": part.commits}
        return sse(body | {"partial_image_index": part.place, "hawk": hawk})

    def completed(self, place: int, done: Done[bytes], prompt_tokens: int) -> bytes:
        body = self._event("image_generation.completed", place, done.picture)
        usage = self.usage(prompt_tokens, done.tokens).model_dump()
        return sse(body | {"usage": usage, "hawk": self._generation(place, done).model_dump()})

    def _event(self, kind: str, place: int, picture: bytes) -> dict[str, Any]:
        return {
            "type": kind,
            "b64_json": _base64(picture),
            "created_at": self.created,
            "image_index": place,
            **self.common,
        }

    def _generation(self, place: int, done: Done[bytes]) -> GenerationInfo:
        forwards = len(done.commits)
        return GenerationInfo(
            seed=self._jobs[place].seed,
            drafter=self._jobs[place].drafter,
            rule=self._card.rule,
            exact=self._card.exact,
            tokens_sha256=done.tokens_sha256,
            tokens=done.tokens,
            forwards=forwards,
            tokens_per_forward=round(done.tokens / forwards, 3),
            commits=done.commits,
            seconds=round(done.seconds, 4),
        )


def sse(body: dict[str, Any]) -> bytes:
    """A server-sent event; its name is the body's type."""
    return f"event: {body['type']}\ndata: {json.dumps(body)}\n\n".encode()


def _base64(picture: bytes) -> str:
    return base64.b64encode(picture).decode()
