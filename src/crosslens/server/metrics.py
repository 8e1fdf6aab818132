"""Prometheus metrics. Every label takes few values: routes, methods, status codes, stages, collections."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, multiprocess
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)


class Meter:
    """The metrics of one server.

    With several workers (``PROMETHEUS_MULTIPROC_DIR`` is set) their values are added up in files.
    """

    def __init__(self) -> None:
        self._shared = "PROMETHEUS_MULTIPROC_DIR" in os.environ
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "crosslens_requests", "Answered requests.", ("route", "method", "status"), registry=self.registry
        )
        self.request_seconds = Histogram(
            "crosslens_request_seconds",
            "From the head of a request to the end of its answer.",
            ("route",),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.stage_seconds = Histogram(
            "crosslens_stage_seconds",
            "Seconds by stage of a request.",
            ("stage",),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.batch_images = Histogram(
            "crosslens_batch_images",
            "Images that went through the encoder at once.",
            buckets=(1, 2, 3, 4, 6, 8, 12, 16, 32, 64, 128),
            registry=self.registry,
        )
        self.queued_images = Gauge(
            "crosslens_queued_images",
            "Images that wait for the encoder.",
            registry=self.registry,
            multiprocess_mode="livesum",
        )
        self.items = Gauge(
            "crosslens_items",
            "Items of a collection.",
            ("collection",),
            registry=self.registry,
            multiprocess_mode="mostrecent",
        )
        self.jobs = Counter("crosslens_jobs", "Jobs that ended.", ("kind", "state"), registry=self.registry)

    @contextmanager
    def stage(self, name: str, seconds: dict[str, float] | None = None) -> Iterator[None]:
        """Measure a stage, and add its seconds to ``seconds`` too."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.took(name, time.perf_counter() - started, seconds)

    def took(self, name: str, duration: float, seconds: dict[str, float] | None = None) -> None:
        """Record that stage ``name`` took ``duration`` seconds."""
        self.stage_seconds.labels(name).observe(duration)
        if seconds is not None:
            seconds[name] = seconds.get(name, 0.0) + duration

    def exposition(self) -> bytes:
        """All metrics in Prometheus' text format."""
        if not self._shared:
            return generate_latest(self.registry)
        together = CollectorRegistry()
        multiprocess.MultiProcessCollector(together)
        return generate_latest(together)


class Observe:
    """Counts and times every request under the template of its route."""

    def __init__(self, app: ASGIApp, meter: Meter) -> None:
        self.app, self._meter = app, meter

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        status, started = 499, time.perf_counter()

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, watched)
        finally:
            route = getattr(scope.get("route"), "path", "other")
            method = scope["method"] if scope["method"] in _METHODS else "other"
            self._meter.requests.labels(route, method, str(status)).inc()
            self._meter.request_seconds.labels(route).observe(time.perf_counter() - started)
