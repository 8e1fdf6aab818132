"""``crosslens report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from crosslens.cli.early import require_encoders, require_run, require_sources
from crosslens.cli.evaluate import Convention
from crosslens.cli.options import (
    Device,
    Domains,
    Features,
    Goal,
    Json,
    MaxPixels,
    Quiet,
    Split,
    emit_json,
    is_shown,
    split_names,
)
from crosslens.methods import UNTRAINED
from crosslens.support.terminal import echo


def report(
    run: Annotated[str, typer.Argument(help="A finished run folder.")],
    root: Annotated[str | None, typer.Option("--on", help="Labelled images; the run's own by default.")] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The HTML file; RUN/report.html by default.")
    ] = None,
    against: Annotated[
        list[str] | None,
        typer.Option(
            "--against",
            help="Show it beside this: frozen or centred (the run's own backbone), another backbone, a run or an"
            " encoder folder; again for more, the first is the base. Both baselines by default.",
        ),
    ] = None,
    convention: Convention = "standard",
    domains: Domains = None,
    split: Split = None,
    goal: Goal = "kind",
    features: Features = None,
    device: Device = None,
    max_pixels: MaxPixels = None,
    json: Json = None,
    quiet: Quiet = False,
) -> None:
    """Write one HTML page about a run: numbers, retrieved images, curves, a map of the embeddings.

    The page needs nothing but itself, and shows the run beside its baselines. Images without labels have no
    numbers; what is found for them is shown all the same.

    Example: crosslens report runs/first        crosslens report runs/first --against lite --against runs/second
    """
    require_run(run)
    require_sources(root)
    require_encoders(*(name for name in against or () if name not in UNTRAINED))
    from crosslens.api.reporting import report as write_report

    made = write_report(
        run,
        root,
        out=out,
        against=against or None,
        domains=split_names(domains),
        convention=convention,
        features=features,
        device=device,
        split=split,
        goal=goal,
    )
    values = {
        name: {"metrics": e.metrics, "marks": list(e.marks), "notes": e.told()}
        for name, e in made.evaluations.items()
    }
    told = {"report": str(made.path), "convention": convention, "encoders": values}
    emit_json(json, told | {"left_out": dict(made.left_out)})
    if is_shown(quiet, json):
        echo(made.path)
