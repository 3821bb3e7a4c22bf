"""Service: who may come in, who makes the images, and how an answer comes about. No routes."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import ExitStack, aclosing

from starlette.datastructures import Headers

from hawk.serving.config import ServeConfig
from hawk.serving.errors import ApiError
from hawk.serving.events import Backend, Reply, merged, sse
from hawk.serving.hosts import Hosts
from hawk.serving.keys import VARIABLE, Keys
from hawk.serving.limits import Seats
from hawk.serving.messages import Admitted, Card, Done, ImageJob, Partial
from hawk.serving.metrics import HttpMeter, combined
from hawk.serving.schemas import ImageRequest, ImageResponse, Model, image_jobs

logger = logging.getLogger(__name__)
CARD_TIMEOUT_S = 5.0
SILENCE_S = 5.0
COMMENT = b": at work\n\n"  # which clients of server-sent events pass over
SEATS = 512  # images in flight that one ingress holds; Serve's own limit lies above


class Service:
    """The state behind the routes: who may come in, and who makes the images.

    ValueError where keys are required and there are none.

    Args:
        pages: Metrics of every ingress by its name, where there are more than this one.
    """

    def __init__(
        self,
        backend: Backend,
        config: ServeConfig,
        keys: Keys,
        pages: Callable[[], Awaitable[dict[str, str]]] | None = None,
    ) -> None:
        if config.keys == "required" and not keys:
            raise ValueError(f"no API keys: set {VARIABLE} to one or more, comma separated")
        self.backend, self.config, self.keys = backend, config, keys
        self.seats = Seats(requests=config.limits.requests_per_key, images=SEATS)
        self.meter = HttpMeter()
        self._hosts = Hosts(config.allowed_hosts, config.cors_origins)
        self._pages = pages
        self._card: Card | None = None

    def client(self, headers: Headers) -> str:
        """Whose request this is. ApiError 401 or 403 for a stranger."""
        if self.keys:
            return self.keys.check(headers.get("authorization"))
        self._hosts.check(headers)
        return "local"

    async def card(self) -> Card:
        """Of the model. ApiError 503 until a replica has answered once."""
        if self._card is None:
            card = await self.answer()
            if card.settings != self.config.fingerprint:
                return card  # of a replica that a redeployment is about to replace: not to be kept
            self._card = card
        return self._card

    async def answer(self) -> Card:
        """A replica's answer, now. ApiError 503 where none comes."""
        try:
            async with asyncio.timeout(CARD_TIMEOUT_S):
                return await self.backend.card()
        except (TimeoutError, ConnectionError) as error:
            message = "no model replica is ready yet; try again"
            raise ApiError(503, message, code="not_ready", retry_after_s=2) from error

    async def metrics(self) -> str:
        """Prometheus text of all ingresses and all model replicas, whichever ingress is asked."""
        own = {"ingress": self.meter.page()} if self._pages is None else await self._pages()
        return combined(await self.backend.metrics() | own)

    async def model(self, name: str) -> Model:
        card = await self.card()
        if name != card.model:
            message = f"The model '{name}' does not exist here; there is '{card.model}'."
            raise ApiError(404, message, code="model_not_found", param="model")
        return Model.of(card)

    async def generate(
        self, body: ImageRequest, client: str, stay: ExitStack
    ) -> ImageResponse | AsyncGenerator[bytes, None]:
        """The answer to a request, or the events of one that streams, already under way.

        Its images have their seats until `stay` is closed.
        """
        stay.enter_context(self.seats.take(client, body.n))
        card = await self.card()
        if body.model is not None:
            await self.model(body.model)
        jobs = image_jobs(body, card, self.config.limits)
        reply = Reply(body, jobs, card)
        if not body.stream:
            return await _whole(self.backend, jobs, reply)
        stream = _admitted(self.backend, jobs, reply)
        first = await anext(stream)  # refusals come as statuses, before anything is sent
        return _joined(first, stream)


async def _whole(backend: Backend, jobs: list[ImageJob], reply: Reply) -> ImageResponse:
    """All images in one answer."""
    prompt_tokens, made = 0, {}
    async with aclosing(merged(backend, jobs)) as messages:
        async for place, message in messages:
            if isinstance(message, Admitted):
                prompt_tokens += message.prompt_tokens
            elif isinstance(message, Done):
                made[place] = message
    return ImageResponse(
        created=reply.created,
        data=[reply.data(place, made[place]) for place in range(len(jobs))],
        usage=reply.usage(prompt_tokens, sum(done.tokens for done in made.values())),
        **reply.common,
    )


async def _admitted(
    backend: Backend, jobs: list[ImageJob], reply: Reply
) -> AsyncGenerator[bytes, None]:
    """An empty piece once all images are let in, then events."""
    prompt_tokens: dict[int, int] = {}
    early: list[bytes] = []
    async with aclosing(merged(backend, jobs)) as messages:
        async for place, message in messages:
            event = b""
            if isinstance(message, Admitted):
                prompt_tokens[place] = message.prompt_tokens
            elif isinstance(message, Partial):
                event = reply.partial(place, message)
            else:
                event = reply.completed(place, message, prompt_tokens[place])
            early.append(event)
            if len(prompt_tokens) == len(jobs):
                yield b"".join(early)  # may be empty
                early.clear()


async def _joined(first: bytes, rest: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """All pieces of a stream that has begun; what goes wrong from here on is its last event."""
    async with aclosing(rest):
        if first:
            yield first
        try:
            async for piece in _with_comments(rest):
                yield piece
        except ApiError as error:
            yield sse({"type": "error", **error.body})
        except Exception as error:  # noqa: BLE001  too late for a status
            yield sse({"type": "error", **mistake(error).body})


async def _with_comments(pieces: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """All pieces, and a comment where none comes for long: what is silent is taken for dead."""
    while True:
        coming = asyncio.ensure_future(anext(pieces, None))
        try:
            while not (await asyncio.wait([coming], timeout=SILENCE_S))[0]:
                yield COMMENT
        finally:  # whoever leaves must not find the pieces in the middle of the next
            coming.cancel()
            await asyncio.wait([coming])
        if (piece := coming.result()) is None:
            return
        yield piece


def mistake(error: Exception) -> ApiError:
    """What clients are told of a mistake of ours; the log has the rest."""
    logger.error("a request failed", exc_info=error)
    return ApiError(500, "something went wrong here; it is logged", code="internal_error")
