"""Limits: how large a body may be and how long it may take, and how many requests a client has."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Generator

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hawk.serving.errors import ApiError


class Seats:
    """What is in flight, until the last byte of its answer is sent: it takes memory so long.

    Args:
        requests: Number of requests that one client may have.
        images: Number of images that all clients together may have.
    """

    def __init__(self, *, requests: int, images: int) -> None:
        self._most_requests, self._most_images = requests, images
        self._requests: Counter[str] = Counter()
        self._images = 0

    @contextlib.contextmanager
    def take(self, client: str, images: int) -> Generator[None, None, None]:
        """Seats for the images of one request. ApiError 429 where there are too few."""
        if self._requests[client] >= self._most_requests:
            most = self._most_requests
            raise _busy(f"you have {most} requests in flight already; wait for one to end")
        if self._images + images > self._most_images:
            raise _busy(f"{self._images} images are in flight already; try again later")
        self._requests[client] += 1
        self._images += images
        try:
            yield
        finally:
            self._images -= images
            self._requests[client] -= 1
            if not self._requests[client]:
                del self._requests[client]


def _busy(message: str) -> ApiError:
    return ApiError(429, message, code="rate_limit_exceeded", retry_after_s=1)


class BodyLimit:
    """ASGI middleware that stops reading a request whose body is too large or too slow."""

    def __init__(self, app: ASGIApp, most_bytes: int, most_s: float) -> None:
        self._app, self._most_bytes, self._most_s = app, most_bytes, most_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        announced = dict(scope["headers"]).get(b"content-length", b"0")
        until: float | None = asyncio.get_running_loop().time() + self._most_s
        size = 0

        async def counted() -> Message:
            nonlocal size, until
            try:
                async with asyncio.timeout_at(until):
                    message = await receive()
            except TimeoutError:
                raise self._too_slow() from None
            size += len(message.get("body", b""))
            if size > self._most_bytes:
                raise self._too_large()
            if not message.get("more_body", False):
                until = None  # what comes now is the end of the connection
            return message

        if not announced.isdigit() or int(announced) > self._most_bytes:
            await self._too_large().response()(scope, receive, send)
            return
        await self._app(scope, counted, send)

    def _too_large(self) -> ApiError:
        message = f"the body is larger than {self._most_bytes} bytes"
        return ApiError(413, message, code="body_too_large")

    def _too_slow(self) -> ApiError:
        message = f"the body took longer than {self._most_s:g} s: send it again"
        return ApiError(408, message, code="body_too_slow")
