"""The commands, each a few lines over the Python API."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer
from typer.core import TyperGroup

from crosslens.cli import (
    benchmark,
    cache,
    data,
    demo,
    embed,
    evaluate,
    export,
    fit,
    index,
    jobs,
    match,
    mcp,
    open,
    report,
    search,
    serve,
)
from crosslens.support.terminal import echo, visible

_UsageError: Any = typer.BadParameter.__base__
"""What typer raises for a wrong call; it has no public name."""


class Commands(TyperGroup):
    """All commands; what is wrong about how they are called is said without obeying what was typed."""

    def make_context(self, *arguments: Any, **options: Any) -> Any:
        """Read the words before the command."""
        with _spoken():
            return super().make_context(*arguments, **options)

    def invoke(self, ctx: Any) -> Any:
        """Read the rest, and run the command."""
        with _spoken():
            return super().invoke(ctx)


@contextmanager
def _spoken() -> Iterator[None]:
    try:
        yield
    except _UsageError as error:
        error.message = visible(error.message)
        raise


app = typer.Typer(
    cls=Commands,
    name="crosslens",
    help="Cross-domain image retrieval: train, measure and search encoders that ignore the look of an image.",
    epilog="Start with 'crosslens open PICTURES' to search your own pictures, or with 'crosslens demo': the whole"
    " story on built-in pictures, offline, in a few minutes.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(invoke_without_command=True)
def _version(version: bool = typer.Option(False, "--version", help="Print the version and leave.")) -> None:
    if version:
        from crosslens.support.version import __version__

        echo(__version__)
        raise typer.Exit


app.command("open")(open.open_pictures)
app.command("demo")(demo.demo)
app.add_typer(data.app, name="data")
app.command("embed")(embed.embed)
app.command("fit", cls=fit.FitCommand)(fit.fit)
app.command("evaluate")(evaluate.evaluate)
app.command("compare")(evaluate.compare)
app.command("report")(report.report)
app.command("benchmark")(benchmark.benchmark)
app.add_typer(index.app, name="index")
app.command("search")(search.search)
app.command("match")(match.match)
app.command("export")(export.export)
app.add_typer(serve.app, name="serve")
app.command("mcp")(mcp.mcp)
app.add_typer(jobs.app, name="jobs")
app.add_typer(cache.app, name="cache")
