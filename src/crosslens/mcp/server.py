"""The tools of an index behind the Model Context Protocol, over standard input and output or HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

import uvicorn
from mcp.server.mcpserver import Image, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp_types import ToolAnnotations

from crosslens.mcp.tools import MOST_BYTES, IndexTools
from crosslens.server.listening import listen
from crosslens.support.errors import CrosslensError
from crosslens.support.version import __version__

F = TypeVar("F", bound=Callable[..., Any])
HOST = "127.0.0.1"
"""Requests carry no key, so that only programs of this machine may ask."""
PATH = "/mcp"

_INSTRUCTIONS = (
    "Search a collection of pictures by words, by a picture of any look (sketch, photo, painting) or by pictures"
    " that are in it. Begin with describe_index; look at what was found with contact_sheet."
)


def make_server(tools: IndexTools, name: str) -> MCPServer[Any]:
    """A server whose tools read one index.

    Args:
        tools: of the index.
        name: of the index.
    """
    server: MCPServer[Any] = MCPServer(
        f"crosslens {name}",
        instructions=_INSTRUCTIONS,
        version=__version__,
        # Everything below is written to standard error, which some clients show as trouble.
        log_level="WARNING",
    )
    reading = ToolAnnotations(read_only_hint=True, open_world_hint=False)
    for tool in (tools.describe_index, tools.search, tools.facets, tools.item):
        server.add_tool(_told(tool), annotations=reading)

    @wraps(tools.contact_sheet)
    def contact_sheet(ids: Any) -> Any:
        return Image(data=_told(tools.contact_sheet)(ids), format="png")

    server.add_tool(contact_sheet, annotations=reading, structured_output=False)
    return server


def serve_stdio(server: MCPServer[Any]) -> None:
    """Answer on standard input and output until the input ends."""
    server.run("stdio")


def serve_http(server: MCPServer[Any], port: int, announce: Callable[[str], None]) -> None:
    """Answer on HTTP, streamable, until interrupted.

    Args:
        server: which answers.
        port: of this machine's loopback address; 0 takes any that is free.
        announce: is told the address.

    Raises:
        CrosslensError: for a port that is taken.
    """
    sockets = listen(HOST, port)
    app = server.streamable_http_app(
        streamable_http_path=PATH, host=HOST, max_request_body_size=MOST_BYTES * 4 // 3 + (1 << 20)
    )
    announce(f"http://{HOST}:{sockets[0].getsockname()[1]}{PATH}")
    asyncio.run(uvicorn.Server(uvicorn.Config(app, log_level="warning")).serve(sockets))


def _told(tool: F) -> F:
    """The tool, whose reported failures reach the assistant in words."""

    @wraps(tool)
    def run(*arguments: Any, **options: Any) -> Any:
        try:
            return tool(*arguments, **options)
        except CrosslensError as error:
            raise ToolError(str(error)) from error

    return run  # type: ignore[return-value]
