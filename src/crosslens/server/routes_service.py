"""Health, metrics, the reference of the API, and the page."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter, Depends, Request
from fastapi.responses import FileResponse, HTMLResponse, PlainTextResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST

from crosslens.server.access import looking
from crosslens.server.held import is_held
from crosslens.server.problems import Problem, busy, responses
from crosslens.server.reference import SCRIPT, STYLE, Reference
from crosslens.server.schemas import Health
from crosslens.server.service import service_of

router = APIRouter()
WEB = Path(__file__).parent / "web"
_MEDIA = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".webp": "image/webp",
    ".ico": "image/x-icon",
    ".woff2": "font/woff2",
    ".json": "application/json",
    ".webmanifest": "application/manifest+json",
    ".txt": "text/plain; charset=utf-8",
}
_NO_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>crosslens</title><link rel="stylesheet" href="docs.css"></head>
<body><main><h1>crosslens</h1><p>This server has no page. Its API is described in the <a href="docs">reference</a>
and in <a href="openapi.json">openapi.json</a>.</p></main></body></html>
"""


@router.get("/health", tags=["service"], summary="Is the server alive?")
@router.get("/api/v1/health", tags=["service"], include_in_schema=False)
async def health() -> Health:
    """Answers as soon as the server listens."""
    return Health(status="ok")


@router.get("/ready", tags=["service"], summary="Can the server answer?", responses=responses(503))
@router.get("/api/v1/ready", tags=["service"], include_in_schema=False)
async def ready(request: Request) -> Health:
    """Answers 200 once every index is open and every encoder has run, 503 before."""
    if not service_of(request).ready.is_set():
        raise busy("the encoders are being loaded")
    return Health(status="ok")


@router.get(
    "/metrics",
    tags=["service"],
    summary="Prometheus metrics",
    response_class=PlainTextResponse,
    dependencies=[Depends(looking)],
    responses=responses(401, 429),
)
@router.get("/api/v1/metrics", tags=["service"], include_in_schema=False, dependencies=[Depends(looking)])
async def metrics(request: Request) -> Response:
    """Requests by route and status, seconds by stage, batch sizes, queue length, items, jobs."""
    service = service_of(request)
    return Response(await service.thread(service.meter.exposition), media_type=CONTENT_TYPE_LATEST)


@router.get("/docs", include_in_schema=False)
async def docs(request: Request) -> Response:
    """The reference of the API, without requests to other hosts."""
    reference: Reference = request.app.state.reference
    # Made once, in a thread: other requests go on meanwhile.
    page = reference.made or await service_of(request).thread(reference.make)
    return HTMLResponse(page, headers={"Cache-Control": "no-cache"})


@router.get("/docs.css", include_in_schema=False)
async def docs_style() -> Response:
    """How the reference looks."""
    return Response(STYLE, media_type=_MEDIA[".css"], headers={"Cache-Control": "no-cache"})


@router.get("/docs.js", include_in_schema=False)
async def docs_script() -> Response:
    """What sends the requests that are tried in the reference."""
    return Response(SCRIPT, media_type=_MEDIA[".js"], headers={"Cache-Control": "no-cache"})


@router.get("/", include_in_schema=False)
async def page(request: Request) -> Response:
    """The page, or a note where it finds the API."""
    index = WEB / "index.html"
    if not service_of(request).settings.page or not index.is_file():
        return HTMLResponse(_NO_PAGE, headers={"Cache-Control": "no-cache"})
    return _unless_held(request, index, "no-cache")


@router.get("/assets/{path:path}", include_in_schema=False)
async def asset(request: Request, path: str) -> Response:
    """A file of the page whose name is made from its content, so that it never changes."""
    return _file(request, f"assets/{path}", "public, max-age=31536000, immutable")


@router.get("/{name}", include_in_schema=False)
async def page_file(request: Request, name: str) -> Response:
    """Another file of the page, such as its icon."""
    return _file(request, name, "no-cache")


def _file(request: Request, path: str, kept: str) -> Response:
    base = WEB.resolve()
    file = base / path
    if service_of(request).settings.page and "\0" not in path and file.suffix in _MEDIA:
        try:
            resolved = file.resolve(strict=True)
        except OSError:
            resolved = base
        if resolved.is_file() and resolved.is_relative_to(base):
            return _unless_held(request, resolved, kept)
    raise Problem(404, "there is nothing at this address")


def _unless_held(request: Request, file: Path, kept: str) -> Response:
    headers = {"Cache-Control": kept}
    answer = FileResponse(file, media_type=_MEDIA[file.suffix], headers=headers, stat_result=file.stat())
    tag = answer.headers["etag"]
    if is_held(tag, request.headers.get("if-none-match")):
        return Response(status_code=304, headers=headers | {"ETag": tag})
    return answer
