"""Limits at the door: how large a body may be, and how many requests a client has at a time."""

import contextlib
from collections import Counter
from collections.abc import Generator

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve.errors import ApiError


class Seats:
    """Requests in flight, by client.

    Args:
        each: that one client may have.
        total: that all may have.
    """

    def __init__(self, *, each: int, total: int) -> None:
        self._each, self._total = each, total
        self._taken: Counter[str] = Counter()

    @contextlib.contextmanager
    def take(self, client: str) -> Generator[None, None, None]:
        """A seat for one request. ApiError 429 where none is free."""
        if self._taken[client] >= self._each:
            raise _busy(f"you have {self._each} requests in flight already; wait for one to end")
        if self._taken.total() >= self._total:
            raise _busy(f"{self._total} requests are in flight already; try again later")
        self._taken[client] += 1
        try:
            yield
        finally:
            self._taken[client] -= 1
            if not self._taken[client]:
                del self._taken[client]


def _busy(message: str) -> ApiError:
    return ApiError(429, message, code="rate_limit_exceeded", retry_after_s=1)


class BodyLimit:
    """ASGI middleware that stops reading a request whose body is too large."""

    def __init__(self, app: ASGIApp, most_bytes: int) -> None:
        self._app, self._most_bytes = app, most_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        announced = dict(scope["headers"]).get(b"content-length", b"0")
        size = 0

        async def counted() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > self._most_bytes:
                raise self._error()
            return message

        if not announced.isdigit() or int(announced) > self._most_bytes:
            error = self._error()
            await JSONResponse(error.body, error.status_code)(scope, receive, send)
            return
        await self._app(scope, counted, send)

    def _error(self) -> ApiError:
        return ApiError(
            413, f"the body is larger than {self._most_bytes} bytes", code="body_too_large"
        )
