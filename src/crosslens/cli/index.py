"""``crosslens index``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from crosslens.cli.options import Decode, Device, Domains, Json, Quiet, emit_json, print_table, split_names

app = typer.Typer(help="Build and look after an index of images to search in.", no_args_is_help=True)


@app.command()
def build(
    root: Annotated[str, typer.Argument(help="The images to search in: a folder, a manifest or a list.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The index folder to make.")],
    encoder: Annotated[
        str, typer.Option("--encoder", "-e", help="A run, an encoder folder or a backbone.")
    ] = "lite",
    domains: Domains = None,
    decode: Decode = "exact",
    device: Device = None,
    json: Json = None,
    quiet: Quiet = False,
) -> None:
    """Embed images and index them.

    Example: crosslens index build pictures/ --domains photo --encoder runs/first --out photos.index
    """
    from crosslens.api import open_catalog
    from crosslens.encoder import load_encoder
    from crosslens.progress import set_quiet
    from crosslens.search.index import Index

    set_quiet(quiet)
    catalog = open_catalog(root)
    names = split_names(domains)
    made, skipped = Index.build(
        catalog.select(domains=names) if names else catalog, load_encoder(encoder), out, device=device
    )
    emit_json(json, {"index": str(out), "skipped": skipped, **made.stats()})
    if not quiet:
        typer.echo(f"{len(made)} images indexed in {out}, {len(skipped)} skipped")
        typer.echo(f"search with: crosslens search {out} --image PICTURE")


@app.command()
def info(
    index: Annotated[Path, typer.Argument(help="An index folder.")], json: Json = None, quiet: Quiet = False
) -> None:
    """Say what an index holds."""
    from crosslens.search.index import Index

    stats = Index.open(index).stats()
    emit_json(json, stats)
    if not quiet:
        print_table(str(index), ("what", "value"), [(key, str(value)) for key, value in stats.items()])


@app.command()
def delete(
    index: Annotated[Path, typer.Argument(help="An index folder.")],
    ids: Annotated[list[str], typer.Argument(help="Ids of the items to delete.")],
    json: Json = None,
    quiet: Quiet = False,
) -> None:
    """Delete items by id; the images themselves stay."""
    from crosslens.search.index import Index

    opened = Index.open(index)
    count = opened.delete(ids)
    emit_json(json, {"deleted": count, "items": len(opened)})
    if not quiet:
        typer.echo(f"{count} deleted, {len(opened)} left")
