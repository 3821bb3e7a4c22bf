"""Replica: an engine behind messages, as an ingress calls it. A plain class: no ray, no HTTP.

Whoever describes the application to Serve imports this file: torch, which takes seconds, is
imported where a replica is made.
"""

import asyncio
import contextlib
import gc
import time
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from PIL import Image

from hawk.images.encoding import encode
from hawk.images.origin import Origin
from hawk.serving.config import ServeConfig
from hawk.serving.mailbox import Mailbox
from hawk.serving.messages import Admitted, Card, Done, ImageJob, Partial, Refused
from hawk.serving.metrics import EngineMeter
from hawk.settings import DraftSettings

if TYPE_CHECKING:
    from hawk.decoding.request import Request
    from hawk.pipeline import Assemble
    from hawk.serving.engine import Engine, Event

Message = Admitted | Partial[bytes] | Done[bytes] | Refused


class Replica:
    """One model with its engine.

    Args:
        config: Settings of the service.
        name: Name of this replica, for metrics.
        assemble: Maker of pipelines around the target; `Pipeline` where it is not given.

    ValueError where the settings do not fit the model, before anything is served.
    """

    def __init__(
        self, config: ServeConfig, name: str = "local", assemble: "Assemble | None" = None
    ) -> None:
        self.name, self._model = name, config.model
        # In a thread that ends: OpenMP keeps a team for every thread that has computed, and where
        # all teams together are more than the cores, each of them sleeps after every product
        # instead of awaiting the next. The engine's own has to be the only one.
        with ThreadPoolExecutor(max_workers=1) as thread:
            self.engine, self._card = thread.submit(_loaded, config, assemble).result()
        self._meter = EngineMeter(self.engine)

    async def card(self) -> Card:
        return self._card

    async def image(self, job: ImageJob) -> AsyncGenerator[Message, None]:
        """What becomes of a job; the last message is `Done` or `Refused`.

        Whoever stops listening frees the slot.
        """
        try:
            request = self._request(job)
        except ValueError as error:
            yield Refused(reason="invalid", message=str(error))
            return
        loop = asyncio.get_running_loop()
        events: Mailbox[Event] = Mailbox()

        def emit(event: "Event") -> None:
            spare_bytes = event.picture.nbytes if isinstance(event, Partial) else 0
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody listens
                loop.call_soon_threadsafe(events.put, event, spare_bytes)

        work = self.engine.submit(
            request, job.drafter, parts=job.parts, deadline_s=job.deadline_s, emit=emit
        )
        try:
            while True:
                event = await events.get()
                self._meter.add(event)
                yield await _encoded(event, job, self._origin(request, job, event))
                if isinstance(event, (Done, Refused)):
                    return
        finally:
            self.engine.cancel(work)

    async def whole(self, job: ImageJob) -> list[Message]:
        """All of it at once, for who has no use for less: one answer costs a cluster less."""
        return [message async for message in self.image(job)]

    async def metrics(self) -> dict[str, str]:
        """Prometheus text, by the name of this replica."""
        return {self.name: self._meter.page()}

    async def check_health(self) -> None:
        """Raises where this replica has to be replaced."""
        self.engine.check()

    def _origin(self, request: "Request", job: ImageJob, event: "Event") -> "Origin | None":
        """What goes into the file of a finished picture."""
        if not isinstance(event, Done):
            return None
        return Origin(
            maker=self.engine.maker(job.drafter),
            request=request,
            size=self._model.size,
            tokens_sha256=event.tokens_sha256,
        )

    def _request(self, job: ImageJob) -> "Request":
        from hawk.decoding.request import Request

        target = self.engine.target
        return Request(
            prompt=job.prompt,
            negative_prompt=job.negative_prompt,
            seed=job.seed,
            guidance=target.default_guidance if job.guidance is None else job.guidance,
            sampler=target.default_sampler.override(
                temperature=job.temperature, top_k=job.top_k, top_p=job.top_p
            ),
        )


def _loaded(config: ServeConfig, assemble: "Assemble | None") -> tuple["Engine", Card]:
    """The engine of a model, and what it has to offer."""
    # The collector would go through all that an import leaves there again and again: a fifth of
    # its time.
    gc.disable()
    try:
        import torch

        from hawk.pipeline import Pipeline
        from hawk.serving.engine import Engine
    finally:
        gc.enable()

    assemble = assemble or Pipeline
    model = config.model
    torch.set_num_threads(max(1, int(config.replicas.cpus)))  # Ray lets actors have one only
    drafting = DraftSettings(drafter=model.drafters[0], rule=model.rule)
    target = Pipeline.load(model, drafting).target
    target.name = config.served_as  # clients are told no paths
    pipelines = [
        assemble(
            target,
            drafter=name,
            rule=model.rule,
            slots=model.slots,
            deterministic=model.deterministic,
        )
        for name in model.drafters
    ]
    engine = Engine({p.drafter: p for p in pipelines}, waiting=model.waiting)
    grid = target.grid
    height, width, _ = target.pixels(
        torch.zeros(1, grid.cells, dtype=torch.int64, device=target.device)
    )[0].shape
    card = Card(
        model=config.served_as,
        width=width,
        height=height,
        columns=grid.width,
        rows=grid.height,
        drafters=tuple(dict.fromkeys(p.drafter for p in pipelines)),
        rule=pipelines[0].rule_name,
        exact=pipelines[0].rule.exact,
        created=int(time.time()),
        settings=config.fingerprint,
    )
    return engine, card


async def _encoded(event: "Event", job: ImageJob, origin: "Origin | None") -> Message:
    """The event with its picture as a file; encoding runs beside the loop."""
    if isinstance(event, (Partial, Done)):
        image, quality = Image.fromarray(event.picture), job.quality
        picture = await asyncio.to_thread(encode, image, job.format, quality=quality, origin=origin)
        encoded: Any = replace(event, picture=picture)
        return encoded
    return event
