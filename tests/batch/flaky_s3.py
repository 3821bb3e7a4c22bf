"""An S3 server over HTTP (moto's) that can be told to misbehave."""

import socket
import struct
import threading
from collections.abc import Callable, Iterable
from typing import Any

from moto.backends import get_backend
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

SLOW_DOWN = (
    b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
)
DENIED = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"


class FlakyS3:
    """A context manager; serves from entering to leaving.

    Attributes:
        url: where.
        slow_down_every, reset_every: such requests get a 503, or their connection is reset.
        denies: whether every request gets a 403.
        refusal: the status and code that a request gets instead of an answer, if any.
        faults: how many requests went wrong so far.
    """

    def __init__(self) -> None:
        self.slow_down_every = self.reset_every = 0
        self.denies = False
        self.refusal: Callable[[dict[str, Any]], tuple[str, str] | None] = lambda _: None
        self.faults = self._requests = 0
        self._app = DomainDispatcherApplication(create_backend_app)
        self._server = make_server("127.0.0.1", 0, self._serve, threaded=True)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever)

    def __enter__(self) -> "FlakyS3":
        get_backend("s3").reset()  # it lives as long as this process
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _serve(self, environ: dict[str, Any], respond: Callable[..., Any]) -> Iterable[bytes]:
        self._requests += 1
        if self.denies:
            respond("403 Forbidden", [("Content-Type", "application/xml")])
            return [DENIED]
        if refused := self.refusal(environ):
            status, code = refused
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            respond(status, [("Content-Type", "application/xml")])
            return [f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode()]
        if self.slow_down_every and self._requests % self.slow_down_every == 0:
            self.faults += 1
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            respond("503 Slow Down", [("Content-Type", "application/xml")])
            return [SLOW_DOWN]
        if self.reset_every and self._requests % self.reset_every == 0:
            self.faults += 1
            _reset(environ["werkzeug.socket"])
        return self._app(environ, respond)


def _reset(connection: socket.socket) -> None:
    """Close with RST; what the server writes after that goes nowhere."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()
