"""``crosslens demo``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from crosslens.cli.options import Json, Quiet, emit_json, is_shown
from crosslens.support.terminal import echo


def demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="Where the results go.")] = Path("crosslens-demo"),
    json: Json = None,
    quiet: Quiet = False,
) -> None:
    """Show the whole story on built-in pictures, offline, in a few minutes on a laptop.

    Embeds line drawings and flat colour pictures of the same things, trains UCDIR without labels, shows what it
    gained, builds an index, searches it and writes a report.
    """
    from crosslens.api.demo import run_demo
    from crosslens.support.addresses import path_here

    result = run_demo(path_here(out), (lambda line: None) if quiet else echo)
    emit_json(json, result.to_json())
    if not is_shown(quiet, json):
        return
    seconds = sum(result.seconds.values())
    echo("")
    echo(f"Done in {seconds:.0f} s. Draw on its pictures, and see how each look finds the other:")
    echo(f"  crosslens serve {out / 'flat.index'}    (and {out / 'report.html'} has all that was measured)")
    echo("Search your own pictures, without training:")
    echo("  crosslens open PICTURES")
    echo("Train on two looks of your own, and search with what it learned:")
    echo("  crosslens fit auto PICTURES --out runs/mine    (PICTURES/<domain>/...)")
    echo("  crosslens index build PICTURES --domains photo --encoder runs/mine --out photos.index")
    echo("  crosslens search photos.index --image my-sketch.png --domain sketch")
