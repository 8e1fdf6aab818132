"""A line in the log for every request, and the id by which client, proxy and log name the same one."""

from __future__ import annotations

import json
import logging
import re
import time
import uuid
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from crosslens.server.settings import ServerSettings
from crosslens.support.terminal import VisibleFormatter

log = logging.getLogger(__name__)
_ID_HEADER = "X-Request-ID"
_ID = re.compile(r"[A-Za-z0-9._:+/=-]{1,128}")
_ROUTINE = (
    "/thumbnail",
    "/image",
    "/health",
    "/ready",
    "/metrics",
    "/assets/{path:path}",
    "/docs.css",
    "/docs.js",
    "/{name}",
)
"""Ends of routes that are asked so often that their success is worth a line with ``debug`` alone."""
_request: ContextVar[str | None] = ContextVar("crosslens_request", default=None)


class RequestLog:
    """Gives every request an id, the client's own where it sent a sane one, and logs how it ended."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        sent = Headers(scope=scope).get(_ID_HEADER, "")
        name = sent if _ID.fullmatch(sent) else uuid.uuid4().hex
        mark, status, started = _request.set(name), 499, time.perf_counter()

        async def named(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)[_ID_HEADER] = name
            await send(message)

        try:
            await self.app(scope, receive, named)
        finally:
            self._say(scope, status, time.perf_counter() - started)
            _request.reset(mark)

    def _say(self, scope: Scope, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "")
        level = logging.DEBUG if status < 400 and route.endswith(_ROUTINE) else logging.INFO
        if log.isEnabledFor(level):
            # Without the query string, which may hold what somebody looks for.
            facts = {
                "client": scope["client"][0] if scope["client"] else None,
                "method": scope["method"],
                "path": scope["path"],
                "status": status,
                "milliseconds": round(1000 * seconds, 1),
            }
            line = "%(client)s %(method)s %(path)s %(status)s %(milliseconds)s ms"
            log.log(level, line, facts, extra={"facts": facts})


class TextLines(VisibleFormatter):
    """``2026-01-31T12:00:00.000Z INFO [request id] message``; a traceback keeps its lines."""

    def format(self, record: logging.LogRecord) -> str:
        """One record."""
        request = _request.get()
        named = f"[{request}] " if request else ""
        return f"{_time_of(record)} {record.levelname} {named}{super().format(record)}"


class JsonLines(logging.Formatter):
    """One JSON object a record, on one line: ``time``, ``level``, ``logger``, ``message`` and more where known."""

    def format(self, record: logging.LogRecord) -> str:
        """One record."""
        line: dict[str, Any] = {
            "time": _time_of(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            "request": _request.get(),
            **getattr(record, "facts", {}),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps({key: value for key, value in line.items() if value is not None})


def log_as_told(settings: ServerSettings) -> None:
    """Let this process write its log, and uvicorn's, to standard error as the settings say."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines() if settings.log_json else TextLines())
    for name, level in (("crosslens", settings.log_level.upper()), ("uvicorn", "WARNING")):
        logger = logging.getLogger(name)
        logger.handlers[:] = [handler]
        logger.setLevel(level)
        logger.propagate = False


def _time_of(record: logging.LogRecord) -> str:
    when = datetime.fromtimestamp(record.created, UTC)
    return when.isoformat(timespec="milliseconds").replace("+00:00", "Z")
