"""Errors as RFC 9457 problem documents: one shape for everything that goes wrong."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from crosslens.support.errors import BackboneError, ConfigError, CrosslensError, ImageError

log = logging.getLogger(__name__)

_MEDIA_TYPE = "application/problem+json"
EXPLAINED = {
    400: "The request cannot be read.",
    401: "A key is needed: send 'Authorization: Bearer KEY'.",
    403: "This key, host or origin may not do this.",
    404: "There is no such collection, item, image or job.",
    405: "This address does not know this method.",
    408: "The request's body took too long to arrive.",
    409: "The change does not fit the present state.",
    413: "The body, an image or the number of images is above a limit.",
    415: "The body or an image is of a type that is not taken.",
    422: "The request is well formed, but a value in it is not allowed.",
    429: "Too many requests from this client; wait as long as 'Retry-After' says.",
    500: "A defect of the server; its log says more.",
    503: "The server is starting, stopping or busy; wait as long as 'Retry-After' says.",
}


_MODELS = ("ImagePart", "TextPart", "LikePart")


class WrongValue(BaseModel):
    """One value that is not allowed."""

    where: str = Field(description="Place in the request, such as `parts.0.text`.")
    what: str = Field(description="What is wrong with it.")


class ProblemDocument(BaseModel):
    """What went wrong (RFC 9457)."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "type": "/docs#problem-404",
                "title": "Not Found",
                "status": 404,
                "detail": "there is no collection 'fotos'; see /api/v1/collections",
            }
        }
    )

    type: str = Field(description="Where this kind of problem is explained.")
    title: str = Field(description="The kind of problem.")
    status: int = Field(description="The HTTP status, again.")
    detail: str = Field(description="What is wrong with this request and what to do about it.")
    errors: list[WrongValue] | None = Field(None, description="With 422: every value that is not allowed.")


class Problem(Exception):  # noqa: N818 -- what it is called in RFC 9457
    """Ends a request with a problem document.

    Args:
        status: HTTP status.
        detail: what is wrong and what to do about it.
        headers: further response headers.
        errors: for 422, the values that are not allowed.
    """

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        headers: Mapping[str, str] | None = None,
        errors: list[dict[str, str]] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status, self.detail, self.errors = status, detail, errors
        self.headers = dict(headers or {})

    def response(self, scope: Scope) -> Response:
        """The problem as the response to the request of ``scope``."""
        content: dict[str, Any] = {
            "type": f"{scope.get('root_path', '')}/docs#problem-{self.status}",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
        }
        if self.errors:
            content["errors"] = self.errors
        return JSONResponse(content, self.status, self.headers, _MEDIA_TYPE)


def busy(detail: str, seconds: int = 1) -> Problem:
    """A 503 that says when to try again."""
    return Problem(503, detail, headers={"Retry-After": str(seconds)})


def unknown_item(status: int, image: str, collection: str, near: str = "") -> Problem:
    """A problem that names an id and what may have been meant, both cut where they are long."""
    return Problem(status, f"there is no item {image[:200]!r} in {collection}{near[:600]}")


def wrong_values(errors: list[Any]) -> Problem:
    """A 422 from pydantic's list of errors."""
    faults = [
        # Names of models are pydantic's own steps; no client has written them.
        {
            "where": ".".join(str(step) for step in error["loc"] if step not in _MODELS),
            "what": str(error["msg"]).removeprefix("Value error, "),
        }
        for error in errors[:20]
    ]
    first = ": ".join(filter(None, faults[0].values())) if faults else "a value is not allowed"
    return Problem(422, first, errors=faults)


def _of_error(error: CrosslensError) -> Problem:
    """The problem that one of crosslens' own errors is to a client.

    Only errors about the request itself are passed on word by word; others name files of this machine.
    """
    if isinstance(error, ImageError | ConfigError | BackboneError):
        return Problem(422, str(error))
    log.error("request failed: %s", error)
    return busy("the index cannot be read or written right now; the server's log says why", 5)


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """OpenAPI entries for the problems an operation can end with."""
    return {
        status: {
            "description": EXPLAINED[status],
            "content": {_MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemDocument"}}},
        }
        for status in statuses
    }


class Defects:
    """Answers 500 where the application raises what nobody expected, and says in the log alone what it was.

    Stands behind the middleware that counts requests and adds headers, which the framework's own handler of all
    exceptions goes round.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request.

        Raises:
            Exception: of the application, when part of its answer was sent already: the connection must break.
        """
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = False

        async def watched(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self.app(scope, receive, watched)
        except ClientDisconnect:
            # The client left while it sent its body. Nobody is there to answer.
            return
        except Exception:
            log.exception("%s %s failed", scope["method"], scope["path"])
            if started:
                raise
            await Problem(500, EXPLAINED[500]).response(scope)(scope, receive, send)


def install(app: FastAPI) -> None:
    """Turn every exception that ``app`` expects into a problem document; see `Defects` for the others."""

    async def problem(request: Request, error: Exception) -> Response:
        assert isinstance(error, Problem)
        return error.response(request.scope)

    async def of_framework(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        detail = str(error.detail) if error.status_code not in (404, 405) else EXPLAINED[error.status_code]
        return Problem(error.status_code, detail, headers=error.headers).response(request.scope)

    async def invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return wrong_values(list(error.errors())).response(request.scope)

    async def crosslens(request: Request, error: Exception) -> Response:
        assert isinstance(error, CrosslensError)
        return _of_error(error).response(request.scope)

    app.add_exception_handler(Problem, problem)
    app.add_exception_handler(HTTPException, of_framework)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(CrosslensError, crosslens)
