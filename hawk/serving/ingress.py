"""Ingress: the routes, and errors in OpenAI's shape."""

import asyncio
from collections.abc import Coroutine
from contextlib import aclosing
from importlib.resources import files
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Depends, FastAPI, Request, Security
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import (
    HTMLResponse,
    JSONResponse,
    PlainTextResponse,
    Response,
    StreamingResponse,
)
from fastapi.security import HTTPBearer
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from hawk.serving.access import AccessCheck
from hawk.serving.errors import ApiError, of_validation
from hawk.serving.limits import BodyLimit
from hawk.serving.schemas import ErrorResponse, ImageRequest, ImageResponse, Model, Models
from hawk.serving.service import Service, mistake

BODY_S = 30.0
PIECE_BYTES = 65_536  # as much as uvicorn writes without waiting
CLIENT_LEFT = 499  # as nginx logs it; nobody reads it
UNBUFFERED = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "img-src data:; connect-src 'self'; base-uri 'none'; frame-ancestors 'none'"
)


SCHEME = HTTPBearer(auto_error=False, description="An API key.")  # described; the door asks for it
STREAM = {  # of each event
    "type": "object",
    "required": ["event", "data"],
    "properties": {
        "event": {
            "type": "string",
            "enum": ["image_generation.partial_image", "image_generation.completed", "error"],
        },
        "data": {"type": "string", "description": "JSON, as OpenAI's."},
    },
}

router, guarded = APIRouter(), APIRouter()  # for everybody, and for whom the door lets in
PAGE = files("hawk.serving").joinpath("page.html").read_text(encoding="utf-8")


async def _service(request: Request) -> Service:
    return request.app.state.service


Served = Annotated[Service, Depends(_service)]


async def _client(request: Request) -> str:
    return request.state.client  # as the door has let it in


Client = Annotated[str, Depends(_client)]


def build_api(service: Service) -> FastAPI:
    """All routes over one service."""
    api = FastAPI(
        title="Hawk",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,  # they are no mistake
        responses=_errors_documented(),
    )
    api.state.service = service
    api.add_middleware(BodyLimit, most_bytes=service.config.limits.body_bytes, most_s=BODY_S)
    api.add_middleware(AccessCheck, service=service)
    if service.config.cors_origins:
        api.add_middleware(
            CORSMiddleware,
            allow_origins=service.config.cors_origins,
            allow_methods=["GET", "POST"],
            allow_headers=["*"],  # OpenAI's client sends a dozen of its own
            expose_headers=["Retry-After"],
        )
    api.add_middleware(service.meter.middleware)
    api.add_middleware(_as_meant)
    api.add_exception_handler(HTTPException, _http_error)
    api.add_exception_handler(RequestValidationError, _validation_error)
    api.add_exception_handler(Exception, _own_error)
    api.include_router(router)
    api.include_router(guarded, dependencies=[Security(SCHEME)] if service.keys else None)
    return api


@guarded.post(
    "/v1/images/generations",
    response_model=ImageResponse,
    responses={200: {"content": {"text/event-stream": {"schema": STREAM}}}},
)
async def generate(body: ImageRequest, request: Request, service: Served, client: Client) -> Any:
    """Make images; with `stream`, answer with server-sent events."""
    stay = request.state.stay
    answer = await _while_there(request, service.generate(body, client, stay))
    if answer is None:
        return Response(status_code=CLIENT_LEFT)
    if isinstance(answer, ImageResponse):  # as JSON at once: FastAPI would check it all again
        return Pieces(answer.model_dump_json(), media_type="application/json")
    return EventStream(answer, media_type="text/event-stream", headers=UNBUFFERED)


@guarded.get("/v1/models")
async def models(service: Served, _: Client) -> Models:
    """The one model that is served."""
    return Models(data=[Model.of(await service.card())])


@guarded.get("/v1/models/{model:path}")
async def one_model(model: str, service: Served, _: Client) -> Model:
    """A model by name."""
    return await service.model(model)


@router.get("/healthz")
async def healthz(service: Served) -> dict[str, str]:
    """200 when a model replica answers."""
    await service.answer()
    return {"status": "ok"}


@guarded.get("/metrics", response_class=PlainTextResponse)
async def metrics(service: Served, _: Client) -> str:
    """Prometheus text of all ingresses and all model replicas."""
    return await service.metrics()


@router.get("/", response_class=HTMLResponse)
async def play() -> HTMLResponse:
    """The page to play on; it asks for a key where one is needed."""
    return HTMLResponse(PAGE, headers={"Content-Security-Policy": POLICY})


T = TypeVar("T")


async def _while_there(request: Request, making: Coroutine[Any, Any, T]) -> T | None:
    """What is being made; given up, None, when the client leaves. The body has been read."""
    task, leaving = asyncio.create_task(making), asyncio.create_task(_left(request))
    try:
        await asyncio.wait({task, leaving}, return_when=asyncio.FIRST_COMPLETED)
        return await task if task.done() else None
    finally:
        for running in (task, leaving):
            running.cancel()
        await asyncio.gather(task, leaving, return_exceptions=True)


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _as_meant(app: ASGIApp) -> ASGIApp:
    """A slash at the end means nothing; HEAD is GET, of whose answer the server sends the head."""

    async def meant(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            method = "GET" if scope["method"] == "HEAD" else scope["method"]
            scope = {**scope, "method": method, "path": scope["path"].rstrip("/") or "/"}
        await app(scope, receive, send)

    return meant


class Pieces(Response):
    """Sends what is large as fast as its reader takes it: all of it at once would be copied."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers, body = self.raw_headers, memoryview(self.body)
        await send({"type": "http.response.start", "status": self.status_code, "headers": headers})
        for start in range(0, len(body), PIECE_BYTES):
            piece = bytes(body[start : start + PIECE_BYTES])
            more = start + PIECE_BYTES < len(body)
            await send({"type": "http.response.body", "body": piece, "more_body": more})


class EventStream(StreamingResponse):
    """Closes what it streams when the client leaves, wherever that finds it."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with aclosing(self.body_iterator):  # pyright: ignore[reportArgumentType]
            await super().__call__(scope, receive, send)


def _http_error(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    if isinstance(error, ApiError):
        return error.response()
    code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "bad_request")
    message = f"{error.detail}: see /openapi.json for what is here"
    response = ApiError(error.status_code, message, code=code).response()
    if allowed := (error.headers or {}).get("Allow"):
        response.headers["Allow"] = allowed.replace("GET", "GET, HEAD")
    return response


def _validation_error(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    return of_validation(error.errors()).response()


def _own_error(_: Request, error: Exception) -> JSONResponse:
    return mistake(error).response()


def _errors_documented() -> dict[int | str, dict[str, Any]]:
    statuses = (400, 401, 403, 404, 408, 413, 422, 429, 500, 503, 504)
    return {status: {"model": ErrorResponse} for status in statuses}
