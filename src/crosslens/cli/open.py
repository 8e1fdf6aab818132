"""``crosslens open``."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Annotated

import typer

from crosslens.cli.browser import show_in_browser
from crosslens.cli.early import require_sources
from crosslens.cli.options import Device, MaxPixels, Quiet
from crosslens.cli.serve import require_extra
from crosslens.support.addresses import place_of
from crosslens.support.terminal import echo

PORT = 8000
_NAMED = 20


def open_pictures(
    pictures: Annotated[
        str, typer.Argument(metavar="PICTURES", help="A folder of pictures; an index or a manifest will do too.")
    ],
    index: Annotated[
        Path | None, typer.Option("--index", "-o", help="Where the index lies; in the cache by default.")
    ] = None,
    port: Annotated[
        int | None,
        typer.Option("--port", "-p", min=0, max=65535, help=f"{PORT} by default, or another that is free."),
    ] = None,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Only say where the page is.")] = False,
    device: Device = None,
    max_pixels: MaxPixels = None,
    quiet: Quiet = False,
) -> None:
    """Search your pictures: index what is new, then open the page to search in with words, drawings and pictures.

    Nothing to train and nothing to set. The pictures stay as they are and nothing is written beside them; the
    first call looks at every one of them once, later ones only at those that are new or changed. Ctrl-C is safe at
    any time: what was done is kept. The page is for this machine alone; 'crosslens serve' is for others.

    Example: crosslens open ~/Pictures
    """
    require_extra()
    require_sources(pictures)
    from crosslens.api.opening import index_pictures, is_index
    from crosslens.server.listening import PortTakenError
    from crosslens.server.run import absolute, serve
    from crosslens.server.settings import ServerSettings
    from crosslens.support.progress import note

    place = place_of(pictures)
    if not is_index(place):
        opened, report = index_pictures(pictures, index, device=device)
        place, count = opened.folder, len(opened)
        opened.close()
        for sentence in report.skipped[:_NAMED]:
            note(f"left out: {sentence}")
        if len(report.skipped) > _NAMED:
            note(f"... and {len(report.skipped) - _NAMED} more")
        new = report.added + report.changed
        note(
            f"{count} pictures can be searched ({new} new, {report.removed} gone, {len(report.skipped)} left"
            f" out); the index is {place}"
        )

    def announce(url: str) -> None:
        shown = False if no_browser else show_in_browser(url)
        echo(f"{'Search' if shown else 'Open this page to search'}: {url}    (stop with Ctrl-C)")

    settings = ServerSettings(indexes=absolute([Path(str(place))]), port=PORT if port is None else port)
    with _in_use(place) if isinstance(place, Path) else nullcontext():
        try:
            serve(settings, announce)
        except PortTakenError:
            if port is not None:
                raise
            serve(settings.model_copy(update={"port": 0}), announce)


@contextmanager
def _in_use(index: Path) -> Iterator[None]:
    """Hold a lock in the index, so that 'crosslens cache clean' leaves it; one for each process that serves it."""
    from filelock import FileLock

    file = index / f".open-{os.getpid()}.lock"
    try:
        lock = FileLock(file, timeout=0)
        lock.acquire()
    except OSError:
        # An index that cannot be written can be searched all the same.
        yield
        return
    try:
        yield
    finally:
        lock.release()
        file.unlink(missing_ok=True)
