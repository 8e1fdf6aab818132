"""The commands, each a few lines over the Python API."""

from __future__ import annotations

import typer

from crosslens.cli import data, demo, embed, evaluate, export, fit, index, report, search, serve

app = typer.Typer(
    name="crosslens",
    help="Cross-domain image retrieval: train, measure and search encoders that ignore the look of an image.",
    epilog="Start with 'crosslens demo': the whole story on built-in pictures, offline, in a few minutes.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(invoke_without_command=True)
def _version(version: bool = typer.Option(False, "--version", help="Print the version and leave.")) -> None:
    if version:
        from crosslens import __version__

        typer.echo(__version__)
        raise typer.Exit


app.command("demo")(demo.demo)
app.add_typer(data.app, name="data")
app.command("embed")(embed.embed)
app.command("fit", cls=fit.FitCommand)(fit.fit)
app.command("evaluate")(evaluate.evaluate)
app.command("compare")(evaluate.compare)
app.command("report")(report.report)
app.add_typer(index.app, name="index")
app.command("search")(search.search)
app.command("export")(export.export)
app.add_typer(serve.app, name="serve")
