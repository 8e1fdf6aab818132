"""``crosslens cache``."""

from __future__ import annotations

from typing import Annotated

import typer

from crosslens.cli import completion
from crosslens.cli.options import Json, Quiet, emit_json, is_free, is_shown
from crosslens.support.cache import KEPT, KINDS, Cached, clean_cache, list_cached
from crosslens.support.places import cache_folder
from crosslens.support.terminal import echo, in_bytes, print_table

app = typer.Typer(help="See what the cache holds, and make room.", invoke_without_command=True)


@app.callback()
def show(context: typer.Context, json: Json = None) -> None:
    """Say where the cache is and how large each kind of thing in it; all of it can be made again.

    Example: crosslens cache        crosslens cache clean features --older-than 30
    """
    if context.invoked_subcommand is not None:
        return
    sizes = _by_kind(list_cached())
    emit_json(json, {"folder": str(cache_folder()), "bytes": {kind: size for kind, (_, size) in sizes.items()}})
    if is_free(json):
        rows = [(kind, str(count), in_bytes(size), KINDS[kind]) for kind, (count, size) in sizes.items()]
        total = sum(size for _, size in sizes.values())
        rows.append(("all", str(sum(count for count, _ in sizes.values())), in_bytes(total), ""))
        print_table(str(cache_folder()), ("kind", "things", "size", "what it is"), rows)


@app.command()
def clean(
    kinds: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[KIND]...",
            autocompletion=completion.CACHED,
            help=f"{', '.join(KINDS)}; by default all but {', '.join(KEPT)}, which go when they are named.",
        ),
    ] = None,
    older_than: Annotated[
        float, typer.Option("--older-than", metavar="DAYS", min=0, help="Only what did not change for so long.")
    ] = 0.0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go.")] = False,
    json: Json = None,
    quiet: Quiet = False,
) -> None:
    """Remove what can be made again. What a process works on, or did in the last ten minutes, stays.

    Example: crosslens cache clean features thumbnails --older-than 30
    """
    gone, kept = clean_cache(kinds or (), older_than=older_than, pretend=dry_run)
    freed = sum(one.size for one in gone)
    value = {"removed": [str(one.path) for one in gone], "bytes": freed, "in_use": [str(one.path) for one in kept]}
    emit_json(json, value | {"dry_run": dry_run})
    if is_shown(quiet, json):
        rows = [(kind, str(count), in_bytes(size)) for kind, (count, size) in _by_kind(gone).items()]
        print_table("would go" if dry_run else "removed", ("kind", "things", "size"), rows)
        for one in kept:
            echo(f"in use, so it stays: {one.path}", err=True)


def _by_kind(things: list[Cached]) -> dict[str, tuple[int, int]]:
    """How many and how many bytes of each kind there is."""
    found: dict[str, tuple[int, int]] = {}
    for one in things:
        count, size = found.get(one.kind, (0, 0))
        found[one.kind] = count + 1, size + one.size
    return found
