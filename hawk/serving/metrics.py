"""Metrics: Prometheus counters of replicas and ingresses, and their pages put together."""

import collections
import math
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hawk.serving.messages import Done, Refused

if TYPE_CHECKING:
    from hawk.serving.engine import Engine  # an ingress never loads torch

SECONDS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100, 250)
LENGTHS = (0, 1, 2, 3, 4, 6, 8, 12, 16)


class EngineMeter(Collector):
    """What an engine does: its own counts, read when asked, and those of its events."""

    def __init__(self, engine: "Engine") -> None:
        self._engine = engine
        self._registry = CollectorRegistry()
        self._registry.register(self)
        registry = self._registry
        self._images = Counter("hawk_images", "Images finished", registry=registry)
        self._refused = Counter(
            "hawk_refused", "Images not made, by reason", ["reason"], registry=registry
        )
        self._seconds = Histogram(
            "hawk_image_seconds", "From submission to image", buckets=SECONDS, registry=registry
        )
        # Counted by ourselves: a client waits while the 80 forwards of its image are.
        self._accepted: collections.Counter[int] = collections.Counter()

    def add(self, event: object) -> None:
        """Count one event of one image."""
        if isinstance(event, Done):
            self._images.inc()
            self._seconds.observe(event.seconds)
            # The prompt's own forward has no draft.
            self._accepted.update(commit - 1 for commit in event.commits[1:])
        elif isinstance(event, Refused):
            self._refused.labels(event.reason).inc()

    def collect(self) -> Iterator[Metric]:
        """The engine's own counts."""
        engine, stats = self._engine, self._engine.stats
        yield CounterMetricFamily("hawk_tokens", "Image tokens committed", stats.tokens)
        yield CounterMetricFamily("hawk_forwards", "Forwards, summed over images", stats.forwards)
        yield CounterMetricFamily("hawk_passes", "Passes of the target", stats.passes)
        yield CounterMetricFamily("hawk_drafted_tokens", "Tokens drafted", stats.drafted)
        phases = CounterMetricFamily("hawk_phase_seconds", "Seconds of the loop", labels=["phase"])
        for phase in ("draft", "forward", "verify"):
            phases.add_metric([phase], getattr(stats, f"{phase}_s"))
        yield phases
        accepted = self._accepted.items()
        yield HistogramMetricFamily(
            "hawk_accepted_tokens",
            "Drafted tokens accepted by a forward",
            buckets=[
                (floatToGoString(most), sum(n for length, n in accepted if length <= most))
                for most in (*LENGTHS, math.inf)
            ],
            sum_value=sum(length * n for length, n in accepted),
        )
        yield GaugeMetricFamily("hawk_slots", "Slots of a session", engine.slots)
        yield GaugeMetricFamily("hawk_slots_in_use", "Images in flight", engine.active)
        yield GaugeMetricFamily("hawk_waiting_images", "Images without a slot", engine.waiting)

    def page(self) -> str:
        return generate_latest(self._registry).decode()


class HttpMeter:
    """What clients get: answers by status, and requests in flight."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        registry = self._registry
        self._answers = Counter(
            "hawk_http_requests", "Requests answered", ["path", "status"], registry=registry
        )
        self._seconds = Histogram(
            "hawk_http_seconds",
            "To the end of the answer",
            ["path"],
            buckets=SECONDS,
            registry=registry,
        )
        self._in_flight = Gauge("hawk_http_in_flight", "Requests being answered", registry=registry)

    def page(self) -> str:
        return generate_latest(self._registry).decode()

    def middleware(self, app: ASGIApp) -> ASGIApp:
        """ASGI middleware that counts; 499 stands for clients that left before an answer."""

        async def counted(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http":
                await app(scope, receive, send)
                return
            status, begun = 499, time.monotonic()

            async def noted(message: Message) -> None:
                nonlocal status
                status = message.get("status", status)
                await send(message)

            self._in_flight.inc()
            try:
                await app(scope, receive, noted)
            finally:
                self._in_flight.dec()
                path = getattr(scope.get("route"), "path", "other")  # never what a client wrote
                self._answers.labels(path, status).inc()
                self._seconds.labels(path).observe(time.monotonic() - begun)

        return counted


class _Fixed(Collector):
    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._metrics = list(metrics)

    def collect(self) -> Iterable[Metric]:
        return self._metrics


def combined(pages: Mapping[str, str]) -> str:
    """One page of several, each sample with the name of its replica."""
    families: dict[str, Metric] = {}
    for replica, page in pages.items():
        for family in text_string_to_metric_families(page):
            known = families.setdefault(
                family.name, Metric(family.name, family.documentation, family.type)
            )
            known.samples += [_labelled(sample, replica) for sample in family.samples]
    registry: Any = _Fixed(families.values())
    return generate_latest(registry).decode()


def _labelled(sample: Any, replica: str) -> Any:
    return sample._replace(labels={**sample.labels, "replica": replica})
