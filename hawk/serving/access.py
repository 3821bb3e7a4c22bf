"""AccessCheck: strangers are turned away by their headers, before a body is read."""

from contextlib import ExitStack

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from hawk.serving.errors import ApiError
from hawk.serving.service import Service

OPEN = frozenset({"/", "/healthz", "/openapi.json"})  # the same for everybody, and no secret


class AccessCheck:
    """ASGI middleware that lets in whom the service knows.

    The request's state has who it is, `client`, and what ends when its answer is sent, `stay`.
    """

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app, self._service = app, service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] not in OPEN:
            try:
                client = self._service.client(Headers(scope=scope))
            except ApiError as error:
                await error.response()(scope, receive, send)
                return
            with ExitStack() as stay:
                scope["state"] = scope.get("state", {}) | {"client": client, "stay": stay}
                await self._app(scope, receive, send)
        else:
            await self._app(scope, receive, send)
