"""``crosslens mcp``."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Annotated

import typer

from crosslens.cli import completion
from crosslens.cli.options import Device, MaxPixels
from crosslens.support.errors import ConfigError
from crosslens.support.terminal import echo


def mcp(
    index: Annotated[
        Path, typer.Argument(metavar="INDEX", help="An index folder.", autocompletion=completion.INDEXES)
    ],
    http: Annotated[
        bool, typer.Option("--http", help="Answer on HTTP, to this machine alone, instead of standard input.")
    ] = False,
    port: Annotated[int, typer.Option("--port", "-p", min=0, max=65535, help="With --http.")] = 8008,
    allow: Annotated[
        list[Path] | None,
        typer.Option("--allow", help="A folder that query pictures may be read from, beside the indexed ones."),
    ] = None,
    device: Device = None,
    max_pixels: MaxPixels = None,
) -> None:
    """Let an assistant search an index: a server of the Model Context Protocol, which changes nothing.

    Assistants start it themselves and talk to it over standard input and output; see the docs for their settings.

    Example: crosslens mcp photos.index        crosslens mcp photos.index --http --port 8008
    """
    if importlib.util.find_spec("mcp") is None:
        raise ConfigError("this server needs the package mcp: install crosslens with its extra, crosslens[mcp]")
    from crosslens.mcp.server import make_server, serve_http, serve_stdio
    from crosslens.mcp.tools import IndexTools
    from crosslens.search.index.index import Index

    for folder in allow or []:
        if not folder.is_dir():
            raise ConfigError(f"--allow names a folder that pictures lie in; {folder} is none")
    opened = Index.open(index)
    server = make_server(IndexTools(opened, allow or [], device), opened.name)
    if not http:
        serve_stdio(server)
        return
    serve_http(server, port, lambda url: echo(f"crosslens answers assistants at {url}   stop: Ctrl-C"))
