"""Connection: HTTP/1.1 of uvicorn with an end to its patience.

uvicorn closes connections that are idle between two requests and bounds the headers that h11 reads;
it waits for ever for the headers of a request, and for a client that does not read its answer.
"""

import asyncio
import contextlib
from collections.abc import Generator
from typing import Any

import h11
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from hawk.serving.errors import ApiError
from hawk.stop import Stop

HEAD_BYTES = 16_384  # of a request's line and headers
PATIENCE_S = 30.0  # for a whole head, and for room where an answer waits for its reader
MOST_CONNECTIONS = 1_024


def settings(api: ASGIApp, **options: Any) -> uvicorn.Config:
    """How uvicorn is to serve an application; options are its own."""
    return uvicorn.Config(
        api, http=Connection, h11_max_incomplete_event_size=HEAD_BYTES, ws="none", **options
    )


class Server(uvicorn.Server):
    """Ends by the signals of the command, which are not uvicorn's to handle; a second one ends it
    with what still runs."""

    def __init__(self, settings: uvicorn.Config, wish: Stop) -> None:
        self._wish = wish
        super().__init__(settings)

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield

    async def on_tick(self, counter: int) -> bool:
        return await super().on_tick(counter) or self._wish.number is not None

    @property
    def force_exit(self) -> bool:
        return self._wish.again

    @force_exit.setter
    def force_exit(self, value: bool) -> None:
        """As uvicorn begins: not forced."""


class Connection(H11Protocol):
    """What uvicorn makes of each connection."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._head: asyncio.TimerHandle | None = None  # runs while no request is at work
        self._room: asyncio.TimerHandle | None = None  # runs while an answer cannot be written

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > MOST_CONNECTIONS:
            transport.abort()
        else:
            self._head = self._end_later()

    def data_received(self, data: bytes) -> None:
        """A head that comes byte by byte gets no more time than one that does not come."""
        super().data_received(data)
        if self._at_work:
            self._head = _cancelled(self._head)

    def send_400_response(self, msg: str) -> None:
        error = ApiError(400, msg, code="bad_request")
        headers = [(b"content-type", b"application/json"), (b"connection", b"close")]
        for event in (
            h11.Response(status_code=400, headers=headers),
            h11.Data(data=bytes(error.response().body)),
            h11.EndOfMessage(),
        ):
            self.transport.write(self.conn.send(event))
        self.transport.close()

    def on_response_complete(self) -> None:
        super().on_response_complete()  # begins a request that has come meanwhile
        if not self._at_work:
            _cancelled(self._head)
            self._head = self._end_later()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._room = self._end_later()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._room = _cancelled(self._room)

    def connection_lost(self, exc: Exception | None) -> None:
        self._head, self._room = _cancelled(self._head), _cancelled(self._room)
        super().connection_lost(exc)

    @property
    def _at_work(self) -> bool:
        cycle: Any = self.cycle  # None at first, whatever its annotation says
        return cycle is not None and not cycle.response_complete

    def _end_later(self) -> asyncio.TimerHandle:
        return self.loop.call_later(PATIENCE_S, self.transport.abort)


def _cancelled(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()
