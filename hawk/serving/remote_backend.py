"""RemoteBackend: the model replicas of a Serve cluster, and the ingress in front of them."""

import os
from collections.abc import AsyncGenerator, Awaitable
from contextlib import aclosing
from functools import cached_property
from typing import Any

from fastapi import FastAPI
from ray import serve
from ray.exceptions import RayActorError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError
from ray.serve.handle import DeploymentHandle

from hawk.serving import ports
from hawk.serving.config import ServeConfig
from hawk.serving.events import Message
from hawk.serving.ingress import build_api
from hawk.serving.keys import Keys
from hawk.serving.messages import Admitted, Card, Done, ImageJob, Partial, Refused
from hawk.serving.service import Service

GONE = (RayActorError, DeploymentUnavailableError)  # the replica died, or there is none
METRICS_TIMEOUT_S = 5.0


class RemoteBackend:
    """Calls replicas through a handle; an image whose replica dies is made once more elsewhere."""

    def __init__(self, handle: DeploymentHandle[Any]) -> None:
        self._handle = handle
        self._stream = handle.options(stream=True)

    async def card(self) -> Card:
        """ConnectionError where no replica answers."""
        try:
            return await self._handle.card.remote()
        except (*GONE, BackPressureError) as error:
            raise ConnectionError("no model replica answers") from error

    async def metrics(self) -> dict[str, str]:
        return await _pages(self._handle, "metrics")

    async def image(self, job: ImageJob) -> AsyncGenerator[Message, None]:
        """As `Replica.image`. The second attempt has the same seed, so it is the same image."""
        known = _Known()
        try:
            for attempt in ("first", "last"):
                refused = None
                async with aclosing(self._attempt(job)) as messages:
                    async for message in messages:
                        if isinstance(message, Refused) and message.reason in ("broken", "closing"):
                            refused = message
                        elif known.is_new(message):
                            yield message
                if refused is None:
                    return
                if attempt == "last":
                    yield refused
        except BackPressureError:
            yield Refused(
                reason="overloaded", message="no replica has room; try again later", retry_after_s=5
            )

    async def _attempt(self, job: ImageJob) -> AsyncGenerator[Message, None]:
        """Messages of one replica; one that dies has refused, as broken."""
        call = self._stream.image if job.streamed else self._handle.whole
        response: Any = call.remote(job)  # a generator of messages, or all of them to come
        messages = response if job.streamed else _each(response)
        ended = False
        try:
            async for message in messages:
                ended = isinstance(message, (Done, Refused))
                yield message
                if ended:
                    return
        except GONE:
            lost = "the replica that made the image is gone, and so was another; try again"
            yield Refused(reason="broken", message=lost)
        finally:
            if not ended:  # Serve would tell the replica, and the answer wait for that
                response.cancel()


async def _each(response: Awaitable[list[Message]]) -> AsyncGenerator[Message, None]:
    for message in await response:
        yield message


class _Known:
    """What a client has heard already, for a second attempt not to repeat it."""

    def __init__(self) -> None:
        self._admitted, self._parts = False, 0

    def is_new(self, message: Message) -> bool:
        if isinstance(message, Admitted):
            new, self._admitted = not self._admitted, True
            return new
        if isinstance(message, Partial):
            new = message.place >= self._parts
            self._parts = max(self._parts, message.place + 1)
            return new
        return True


class Ingress:
    """What Serve starts as a HTTP replica. ValueError where keys are required and missing."""

    def __init__(self, model: DeploymentHandle[Any], config: ServeConfig) -> None:
        ports.guard()
        keys = Keys.of_environment(os.environ)
        self._service = Service(RemoteBackend(model), config, keys, self._all_pages)
        self._context = serve.get_replica_context()

    def __serve_build_asgi_app__(self) -> FastAPI:
        return build_api(self._service)

    async def page(self) -> dict[str, str]:
        """Prometheus text of this ingress, by its name."""
        return {self._context.replica_id.unique_id: self._service.meter.page()}

    async def _all_pages(self) -> dict[str, str]:
        return await _pages(self._siblings, "page")

    @cached_property
    def _siblings(self) -> DeploymentHandle[Any]:
        """All ingresses, this one among them."""
        return serve.get_deployment_handle(self._context.deployment, self._context.app_name)


async def _pages(handle: DeploymentHandle[Any], method: str) -> dict[str, str]:
    """What all replicas of a deployment say, by their names."""
    pages: dict[str, str] = {}
    for page in await handle.broadcast(method).results_async(timeout_s=METRICS_TIMEOUT_S):
        pages |= page
    return pages
