"""``crosslens match``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from crosslens.cli.early import require_encoders, require_sources
from crosslens.cli.options import (
    Device,
    Features,
    Json,
    MaxPixels,
    Quiet,
    emit_json,
    is_shown,
    split_names,
    tell_skipped,
)
from crosslens.support.terminal import echo, print_table

if TYPE_CHECKING:
    from crosslens.api.matches import Matches

_ROWS = 20
"""Pairs on the screen."""


def match(
    a: Annotated[str, typer.Argument(metavar="A", help="A folder of pictures, a manifest or a list; what asks.")],
    b: Annotated[
        str | None,
        typer.Argument(metavar="B", help="The same, what it is paired with. Without it A holds two domains."),
    ] = None,
    domains: Annotated[
        str | None,
        typer.Option(
            "--domains",
            help="Two names, separated by a comma: without B the two domains of A; with B what a trained encoder"
            " calls the looks of A and B.",
        ),
    ] = None,
    encoder: Annotated[
        str, typer.Option("--encoder", "-e", help="A run, an encoder folder or a backbone.")
    ] = "lite",
    many: Annotated[
        bool,
        typer.Option(
            "--many", help="Several pictures of A may have the same partner: many photos of one product."
        ),
    ] = False,
    min_match: Annotated[
        float,
        typer.Option(
            "--min-match", min=0, max=1, help="Least probability of a pair; what is below has no partner."
        ),
    ] = 0.5,
    out: Annotated[
        list[Path] | None,
        typer.Option(
            "--out",
            "-o",
            help="Write the result to this file, its format told by the ending: .csv, .json, .md, .tex, or .html"
            " and .png with both pictures of the pairs; without an ending a folder that holds CSV, JSON and page."
            " Again for more.",
        ),
    ] = None,
    show: Annotated[bool, typer.Option("--open", help="Show the pairs in the browser.")] = False,
    features: Features = None,
    device: Device = None,
    max_pixels: MaxPixels = None,
    json: Json = None,
    quiet: Quiet = False,
) -> None:
    """Pair the pictures of two folders: which of A is which of B, and what has no partner.

    For a catalogue and photos of a shop, two icon sets, drawings and what they were drawn from. Nothing is trained
    and no labels are needed. Each picture has one partner at most; --many lets several of A share one of B.

    A probability says how sure a pair is. How many pictures have a partner is estimated, so that folders that
    share nothing get hardly any pair. With --many it is not: most pictures of A are taken to have one, and where
    they have none the probabilities are too high.

    Example: crosslens match shop/ catalogue/ --many --out pairs.csv --open

    Example: crosslens match icons/ --domains line,flat --min-match 0.9 --out pairs/
    """
    require_sources(a, b)
    from crosslens.api.match_request import MatchRequest
    from crosslens.api.matches import check_place

    for place in out or []:
        check_place(place)
    require_encoders(encoder)
    request = MatchRequest.of(
        a=a,
        b=b,
        domains=split_names(domains),
        encoder=encoder,
        many=many,
        min_match=min_match,
        features=features,
        device=device,
    )
    from crosslens.api.matching import match_pictures

    found = match_pictures(request)
    for place in out or []:
        found.write(place)
    emit_json(json, found.to_json())
    if show:
        _show_sheet(found)
    if not is_shown(quiet, json):
        return
    tell_skipped(found.skipped)
    for sentence in found.notes:
        echo(f"note: {sentence}", err=True)
    title = f"{len(found.pairs)} pairs, {len(found.alone_a)} only in A, {len(found.alone_b)} only in B"
    rows = [
        (f"{'rough' if found.rough else format(pair.probability, '.2f')}", pair.a.id, pair.b.id)
        for pair in found.pairs[:_ROWS]
    ]
    print_table(title, ("probability", "A", "B"), rows)
    if len(found.pairs) > _ROWS:
        echo(f"... and {len(found.pairs) - _ROWS} more", err=True)
    echo(title)
    for place in out or []:
        echo(f"written to {place}")


def _show_sheet(found: Matches) -> None:
    """The pairs as a page in the browser, each picture a link to its file; the page lies in the cache."""
    from crosslens.cli.browser import show_in_browser
    from crosslens.support.places import cache_folder
    from crosslens.support.progress import note

    file = cache_folder() / "last-match.html"
    found.draw(file, linked=True)
    if not show_in_browser(file.as_uri()):
        note(f"there is no browser with windows here; the pairs are drawn in {file}")
