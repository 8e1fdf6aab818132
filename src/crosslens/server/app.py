"""The application, put together."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio.to_thread
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema

from crosslens.server import problems, routes_items, routes_jobs, routes_search, routes_service
from crosslens.server.access import add_security
from crosslens.server.guards import BodyLimit, HeadAsGet, KnownHosts, SafeHeaders
from crosslens.server.metrics import Observe
from crosslens.server.problems import ProblemDocument
from crosslens.server.proxies import Forwarded, RootPath
from crosslens.server.reference import Reference
from crosslens.server.requests import RequestLog, log_as_told
from crosslens.server.schemas import OWN_MODELS
from crosslens.server.service import Service
from crosslens.server.settings import LOOPBACK, ServerSettings
from crosslens.server.threads import one_thread_each
from crosslens.support.version import __version__

SETTINGS_VARIABLE = "CROSSLENS_SERVER_SETTINGS"
_DESCRIPTION = (
    "Search collections of images by images, words and indexed items, whatever the images' look. Where the server"
    " was started with keys, send one as 'Authorization: Bearer KEY' or 'X-API-Key: KEY'."
)


def create_app(settings: ServerSettings) -> FastAPI:
    """The application for these settings; ``app.state.service`` holds what it works with.

    Raises:
        StoreError: when an index cannot be opened.
        ConfigError: when the key file cannot be read.
    """
    service = Service(settings)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        service.start()
        yield
        await anyio.to_thread.run_sync(service.stop)

    app = FastAPI(
        title="crosslens",
        version=__version__,
        description=_DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        swagger_ui_oauth2_redirect_url=None,
        lifespan=lifespan,
        # The names of the functions, ``search``: what generated clients call the operations.
        generate_unique_id_function=lambda route: route.name,
    )
    app.state.service = service
    problems.install(app)
    for routes in (routes_search, routes_items, routes_jobs, routes_service):
        app.include_router(routes.router)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]
    app.state.reference = Reference(app.openapi)
    # The last one added is the first one passed.
    app.add_middleware(HeadAsGet)
    app.add_middleware(BodyLimit, most=settings.max_upload, seconds=settings.body_timeout)
    app.add_middleware(KnownHosts, hosts=_hosts(settings))
    app.add_middleware(problems.Defects)
    app.add_middleware(SafeHeaders)
    app.add_middleware(Observe, meter=service.meter)
    app.add_middleware(RequestLog)
    app.add_middleware(RootPath, root=settings.root_path)
    if settings.trust_proxy is not None:
        app.add_middleware(Forwarded, trusted=settings.trust_proxy)
    return app


def app_from_environment() -> FastAPI:
    """The application of a worker process, whose settings its parent left in the environment."""
    settings = ServerSettings.model_validate_json(os.environ[SETTINGS_VARIABLE])
    log_as_told(settings)
    one_thread_each()
    return create_app(settings)


def _hosts(settings: ServerSettings) -> list[str] | None:
    if settings.on_loopback:
        return [*LOOPBACK, *settings.allow_hosts]
    return [*LOOPBACK, *settings.allow_hosts] if settings.allow_hosts else None


def _openapi(app: FastAPI) -> dict[str, Any]:
    if app.openapi_schema is None:
        made = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
        models = [(model, "validation") for model in OWN_MODELS] + [(ProblemDocument, "serialization")]
        _, defined = models_json_schema(models, ref_template="#/components/schemas/{model}")  # type: ignore[arg-type]
        schemas = made.setdefault("components", {}).setdefault("schemas", {})
        for name, schema in defined.get("$defs", {}).items():
            schemas.setdefault(name, schema)
        for name in ("HTTPValidationError", "ValidationError"):
            schemas.pop(name, None)
        _drop_framework_errors(made)
        add_security(made)
        app.openapi_schema = made
    return app.openapi_schema


def _drop_framework_errors(made: dict[str, Any]) -> None:
    """Remove the framework's own error documents, which are never sent."""
    for operations in made["paths"].values():
        for operation in operations.values():
            content = operation["responses"].get("422", {}).get("content", {})
            if "application/json" in content:
                del content["application/json"]
            if "422" in operation["responses"] and not content:
                del operation["responses"]["422"]
