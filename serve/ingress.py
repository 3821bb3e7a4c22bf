"""Ingress: the routes, and errors in OpenAI's shape."""

import asyncio
from collections.abc import Coroutine
from contextlib import aclosing
from importlib.resources import files
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import (
    HTMLResponse,
    JSONResponse,
    PlainTextResponse,
    Response,
    StreamingResponse,
)
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from serve.errors import ApiError, of_validation
from serve.limits import BodyLimit
from serve.schemas import ErrorResponse, ImageRequest, ImageResponse, Model, Models
from serve.service import Service, mistake

CLIENT_LEFT = 499  # as nginx logs it; nobody reads it
UNBUFFERED = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "img-src data:; connect-src 'self'; base-uri 'none'; frame-ancestors 'none'"
)


router = APIRouter()
PAGE = files("serve").joinpath("page.html").read_text(encoding="utf-8")


async def _service(request: Request) -> Service:
    return request.app.state.service


Served = Annotated[Service, Depends(_service)]


async def _client(request: Request, service: Served) -> str:
    return service.client(request.url.hostname, request.headers.get("authorization"))


Client = Annotated[str, Depends(_client)]


def build_api(service: Service) -> FastAPI:
    """All routes over one service."""
    api = FastAPI(title="Hawk", docs_url=None, redoc_url=None, responses=_errors_documented())
    api.state.service = service
    api.add_middleware(BodyLimit, most_bytes=service.config.limits.body_bytes)
    api.add_middleware(service.meter.middleware)
    api.add_exception_handler(HTTPException, _http_error)
    api.add_exception_handler(RequestValidationError, _validation_error)
    api.add_exception_handler(Exception, _own_error)
    api.include_router(router)
    return api


@router.post("/v1/images/generations", response_model=ImageResponse)
async def generate(body: ImageRequest, request: Request, service: Served, client: Client) -> Any:
    """Make images; with `stream`, answer with server-sent events."""
    answer = await _while_there(request, service.generate(body, client))
    if answer is None:
        return Response(status_code=CLIENT_LEFT)
    if isinstance(answer, ImageResponse):  # as JSON at once: FastAPI would check it all again
        return Response(answer.model_dump_json(), media_type="application/json")
    return EventStream(answer, media_type="text/event-stream", headers=UNBUFFERED)


@router.get("/v1/models")
async def models(service: Served, _: Client) -> Models:
    """The one model that is served."""
    return Models(data=[Model.of(await service.card())])


@router.get("/v1/models/{model:path}")
async def one_model(model: str, service: Served, _: Client) -> Model:
    """A model by name."""
    return await service.model(model)


@router.get("/healthz")
async def healthz(service: Served) -> dict[str, str]:
    """200 when a model replica answers."""
    await service.answer()
    return {"status": "ok"}


@router.get("/metrics", response_class=PlainTextResponse)
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


class EventStream(StreamingResponse):
    """Closes what it streams when the client leaves, wherever that finds it."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with aclosing(self.body_iterator):  # pyright: ignore[reportArgumentType]
            await super().__call__(scope, receive, send)


def _http_error(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    if not isinstance(error, ApiError):
        code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "bad_request")
        message = f"{error.detail}: see /openapi.json for what is here"
        error = ApiError(error.status_code, message, code=code)
    return JSONResponse(error.body, error.status_code, error.headers)


def _validation_error(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    told = of_validation(error.errors())
    return JSONResponse(told.body, told.status_code)


def _own_error(_: Request, error: Exception) -> JSONResponse:
    told = mistake(error)
    return JSONResponse(told.body, told.status_code)


def _errors_documented() -> dict[int | str, dict[str, Any]]:
    return {status: {"model": ErrorResponse} for status in (400, 401, 404, 413, 429, 500, 503, 504)}
