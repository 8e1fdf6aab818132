"""``crosslens index``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from crosslens.cli import completion
from crosslens.cli.early import require_encoders, require_sources
from crosslens.cli.jobs import as_job
from crosslens.cli.options import (
    Decode,
    Device,
    Domains,
    Features,
    Goal,
    Json,
    MaxPixels,
    Quiet,
    Split,
    Where,
    describe_left_out,
    emit_json,
    is_free,
    is_shown,
    split_names,
    tell_skipped,
)
from crosslens.search.stores import describe_stores, parse_store
from crosslens.support.addresses import place_of
from crosslens.support.terminal import echo, in_bytes, print_table

app = typer.Typer(help="Build and look after an index of images to search in.", no_args_is_help=True)
Folder = Annotated[
    Path,
    typer.Argument(metavar="INDEX", help="An index folder, or its address.", autocompletion=completion.INDEXES),
]
Root = Annotated[str, typer.Argument(metavar="ROOT", help="The images: a folder, a manifest or a list.")]
Columns = Annotated[
    Path | None,
    typer.Option(
        "--columns", help="A table with columns of your own (.csv, .parquet, .jsonl), joined by its path or id."
    ),
]
Gps = Annotated[bool, typer.Option("--gps", help="Keep where pictures were taken: latitude and longitude.")]
StoreName = Annotated[
    str,
    typer.Option(
        "--store",
        autocompletion=completion.STORES,
        help=f"Where the items are kept: {describe_stores()}.",
    ),
]

Queries = Annotated[
    str | None,
    typer.Option(
        "--queries",
        help="Unlabelled images like those you will ask with; kept, so that search and serve can tell whether a"
        " query has a match, and what is near every query (--goal thing).",
    ),
]

_MISSING = 5
"""Ids that no item has of which more is said."""
_ANSWERS = {True: "yes", False: "no", None: "known where PyTorch is installed"}


@app.command()
def build(
    ctx: typer.Context,
    root: Root,
    out: Annotated[Path, typer.Option("--out", "-o", help="The index folder to make.")],
    encoder: Annotated[
        str, typer.Option("--encoder", "-e", help="A run, an encoder folder or a backbone.")
    ] = "lite",
    store: StoreName = "lance",
    domains: Domains = None,
    split: Split = None,
    plain: Annotated[
        bool,
        typer.Option("--plain", help="Folders are no looks (years, places): all images count as of one domain."),
    ] = False,
    queries: Queries = None,
    goal: Goal = "kind",
    columns: Columns = None,
    gps: Gps = False,
    features: Features = None,
    vectors: Annotated[
        Path | None,
        typer.Option(
            "--vectors",
            help="Vectors that ENCODER made elsewhere: .parquet with id and vector, or .npy or .safetensors with"
            " the ids in a .txt beside.",
        ),
    ] = None,
    decode: Decode = "exact",
    device: Device = None,
    max_pixels: MaxPixels = None,
    json: Json = None,
    quiet: Quiet = False,
) -> None:
    """Embed images and index them.

    Example: crosslens index build pictures/ --domains photo --encoder runs/first --out photos.index
    """
    parse_store(store)
    require_sources(root, queries)
    require_encoders(encoder)
    from crosslens.data.plain_folders import tell_doubt
    from crosslens.data.source import open_catalog
    from crosslens.search.index.index_request import BuildRequest

    catalog = open_catalog(root)
    # A run and an encoder folder have a mode of their own, which only a mode that was typed contradicts.
    typed = ctx.get_parameter_source("decode")
    request = BuildRequest.of(
        source=catalog,
        encoder=encoder,
        folder=out,
        store=store,
        domains=split_names(domains),
        split=split,
        plain=plain,
        queries=None if queries is None else open_catalog(queries),
        goal=goal,
        columns=columns,
        gps=gps,
        features=features,
        vectors=vectors,
        decode=decode if typed is not None and typed.name == "COMMANDLINE" else None,
        device=device,
    )
    from crosslens.search.index.index import Index

    if domains is None and not plain:
        tell_doubt(catalog, root)
    with as_job("index build", out):
        made, skipped = Index.from_request(request)
    left_out = dict(catalog.left_out)
    emit_json(json, {"index": str(place_of(out)), "skipped": skipped, "left_out": left_out, **made.stats()})
    if is_shown(quiet, json):
        told = describe_left_out(left_out)
        echo(f"{len(made)} images indexed in {place_of(out)}, {len(skipped)} skipped{told}")
        tell_skipped(skipped)
        echo(f"search with: crosslens search {place_of(out)} --image PICTURE")


@app.command()
def add(
    index: Folder,
    root: Root,
    domains: Domains = None,
    split: Split = None,
    columns: Columns = None,
    gps: Gps = False,
    prefix: Annotated[
        str | None,
        typer.Option(
            "--prefix", help="Put this and a slash before the ids, where another folder has the names too."
        ),
    ] = None,
    keep_gone: Annotated[
        bool, typer.Option("--keep-gone", help="Keep items of this root whose image is no longer there.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Delete them also where that is more than half of a domain.")
    ] = False,
    queries: Queries = None,
    device: Device = None,
    max_pixels: MaxPixels = None,
    json: Json = None,
    quiet: Quiet = False,
) -> None:
    """Add images, or bring those of a folder up to date: only new and changed ones are embedded.

    A change is seen by size, times and inode. Items of ROOT whose image is gone are deleted; where that is more
    than half of a domain's, as when a disk is not mounted, nothing is done without --force. Without --domains,
    those that were chosen for ROOT before are taken. What is done is kept when the command is interrupted; run it
    again to go on.

    Example: crosslens index add photos.index pictures/
    """
    from crosslens.data.source import open_catalog
    from crosslens.search.index.adding import add_images
    from crosslens.search.index.index import Index
    from crosslens.search.index.index_request import AddRequest
    from crosslens.support.progress import note

    catalog = open_catalog(root)
    request = AddRequest.of(
        source=catalog,
        domains=split_names(domains),
        split=split,
        columns=columns,
        gps=gps,
        prefix=prefix,
        device=device,
        remove_gone=not keep_gone,
        force=force,
    )
    opened = Index.open(index)

    def show(done: int, total: int) -> None:
        if done < total:
            note(f"{done} of {total} new or changed images are done")

    report = add_images(opened.contents, request, show)
    if queries is not None:
        opened.keep_queries(queries, device=device)
    emit_json(json, {**report.to_json(), "left_out": dict(catalog.left_out), "items": len(opened)})
    if is_shown(quiet, json):
        echo(
            f"{report.added} added, {report.changed} changed, {report.unchanged} unchanged,"
            f" {report.removed} removed, {len(report.skipped)} skipped{describe_left_out(catalog.left_out)};"
            f" {len(opened)} items"
        )
        tell_skipped(report.skipped)


@app.command()
def delete(
    index: Folder,
    ids: Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="Ids of items to delete.")] = None,
    where: Where = None,
    json: Json = None,
    quiet: Quiet = False,
) -> None:
    """Delete items by id or by a condition; the images themselves stay.

    Ids that no item has are named; where none has any, that is an error.

    Example: crosslens index delete photos.index --where "id starts with 'photo/dog/'"
    """
    from crosslens.search.filters.text import parse_filter
    from crosslens.search.index.index import Index
    from crosslens.search.index.stored_ids import near_ids
    from crosslens.support.errors import ConfigError, StoreError

    if bool(ids) == (where is not None):
        raise ConfigError("say which items to delete: give their ids, or --where, one of the two")
    opened = Index.open(index)
    missing = opened.missing(ids or [])
    if ids and len(missing) == len(ids):
        near = near_ids(opened.store, missing[0])
        named = ", ".join(map(repr, missing[:_MISSING]))
        raise StoreError(f"{index} has no item {named}; nothing was deleted{near}")
    count = opened.delete(ids or [] if where is None else parse_filter(where))
    emit_json(json, {"deleted": count, "missing": missing, "items": len(opened)})
    if is_shown(quiet, json):
        echo(f"{count} deleted, {len(opened)} left")
        for number, image in enumerate(missing):
            near = near_ids(opened.store, image) if number < _MISSING else ""
            echo(f"not there: {image}{near}", err=True)


@app.command()
def relocate(
    index: Folder,
    old: Annotated[Path, typer.Argument(metavar="OLD", help="A folder that was added, or one above several.")],
    new: Annotated[Path, typer.Argument(metavar="NEW", help="Where it lies now.")],
    force: Annotated[bool, typer.Option("--force", help="Also where some of the images are not there.")] = False,
    json: Json = None,
    quiet: Quiet = False,
) -> None:
    """Say that the images of a folder were moved: their items follow, and nothing is embedded again.

    Example: crosslens index relocate photos.index /media/old-disk/pictures /media/new-disk/pictures
    """
    from crosslens.search.index.index import Index

    opened = Index.open(index)
    report = opened.relocate(old, new, force=force)
    emit_json(json, {**report.to_json(), "items": len(opened)})
    if is_shown(quiet, json):
        echo(
            f"{report.moved} items moved, {report.changed} of them with another size or time,"
            f" {len(report.missing)} without their image"
        )


@app.command("list")
def list_indexes(
    folders: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[FOLDER]...", help="Where to look; here and in the cache by default."),
    ] = None,
    json: Json = None,
) -> None:
    """List indexes, those that 'crosslens open' made among them. An index is deleted by deleting its folder.

    Example: crosslens index list
    """
    from crosslens.search.index.index import Index
    from crosslens.support.cache import size_of
    from crosslens.support.errors import CrosslensError
    from crosslens.support.places import cache_folder

    found = []
    for folder in folders or [Path(), *(cache_folder() / "indexes").glob("*")]:
        places = [folder, *(sorted(folder.iterdir()) if folder.is_dir() else ())]
        for place in places:
            # Not is_file, which raises where a folder may not be looked into.
            if not os.path.isfile(place / "index.json"):
                continue
            about: dict[str, object] = {"index": str(place), "bytes": size_of(place)}
            try:
                opened = Index.open(place)
                encoder = opened.contents.description["encoder"]
                about |= {"items": len(opened), "encoder": encoder, "roots": [str(root) for root in opened.roots]}
                opened.close()
            except CrosslensError as error:
                about["error"] = str(error)
            found.append(about)
    emit_json(json, {"indexes": found})
    if is_free(json):
        rows = [
            (
                str(one["index"]),
                str(one.get("items", "?")),
                in_bytes(int(str(one["bytes"]))),
                str(one.get("encoder", one.get("error"))),
                ", ".join(map(str, one.get("roots", []))),  # type: ignore[call-overload]
            )
            for one in found
        ]
        print_table("indexes", ("index", "items", "size", "encoder", "pictures"), rows)


@app.command()
def info(index: Folder, json: Json = None, quiet: Quiet = False) -> None:
    """Say what an index holds and how it is searched.

    Example: crosslens index info photos.index --json -
    """
    from crosslens.search.index.index import Index

    stats = Index.open(index).stats()
    emit_json(json, stats)
    if is_free(json):
        print_table(str(place_of(index)), ("what", "value"), _info_rows(stats))


def _info_rows(stats: dict[str, Any]) -> list[tuple[str, str]]:
    """What an index holds, in words."""
    store = stats["store"]
    counts = ", ".join(f"{name} {count:,}" for name, count in stats["domains"].items())
    columns = ", ".join(f"{name} ({kind})" for name, kind in stats["columns"].items())
    structure = f"{store['kind']}, {store['structure']}" if "structure" in store else store["kind"]
    return [
        ("items", f"{stats['items']:,}"),
        ("domains", counts or "none"),
        ("own columns", columns or "none"),
        ("folders", ", ".join(stats["roots"]) or "none"),
        ("encoder", f"{stats['encoder']}, {stats['dim']} numbers a vector, fingerprint {stats['fingerprint']}"),
        ("backbone", stats["backbone"]),
        ("answers words", _ANSWERS[stats["text_queries"]]),
        ("goal", _goal_row(stats)),
        ("store", structure),
        ("on disk", in_bytes(stats["bytes"])),
        ("version", f"{stats['version']} (format {stats['format']})"),
    ]


def _goal_row(stats: dict[str, Any]) -> str:
    """What is asked for, and what was learned for ``thing``."""
    hubs = stats["hubs"]
    if not hubs:
        return f"{stats['goal']}; nothing learned for thing"
    source = "kept queries" if hubs["bank"] == "queries" else "items of other domains"
    return f"{stats['goal']}; thing learned of {hubs['size']:,} {source} and {hubs['items']:,} items"


@app.command()
def optimize(index: Folder, json: Json = None, quiet: Quiet = False) -> None:
    """Make an index fast and small again after many changes, and learn anew what is near every query (--goal
    thing).

    It can be searched meanwhile.

    Example: crosslens index optimize photos.index
    """
    from crosslens.search.index.index import Index

    done = Index.open(index).optimize()
    emit_json(json, done)
    if is_shown(quiet, json):
        print_table(str(place_of(index)), ("what", "value"), [(key, str(value)) for key, value in done.items()])


@app.command()
def switch(
    index: Folder,
    new: Annotated[Path, typer.Argument(metavar="NEW", help="The version that takes its place.")],
    quiet: Quiet = False,
) -> None:
    """Exchange two indexes in one step: a new version that was built beside takes the place of the one that is
    served.

    Servers of INDEX take it over within a second (any number of them, over one disk), and no request fails. NEW is
    the old version then: the same command again is the way back.

    Example: crosslens index build pictures/ --encoder runs/second --out next.index, then
    crosslens index switch photos.index next.index
    """
    from crosslens.search.index.switching import switch_indexes

    switch_indexes(index, new)
    if is_shown(quiet, None):
        echo(f"{index} is the new version now, {new} the old one; the same command again is the way back")


@app.command()
def snapshot(
    index: Folder,
    target: Annotated[Path, typer.Argument(metavar="TARGET", help="The folder to make.")],
    json: Json = None,
    quiet: Quiet = False,
) -> None:
    """Copy items, vectors, encoder and uploads to a new folder of plain files: Parquet, safetensors and JSON.

    Example: crosslens index snapshot photos.index photos-2026-01-31
    """
    from crosslens.search.index.index import Index

    opened = Index.open(index)
    opened.snapshot(target)
    emit_json(json, {"snapshot": str(place_of(target)), "items": len(opened), "version": opened.version})
    if is_shown(quiet, json):
        echo(f"{len(opened)} items copied to {place_of(target)}")


@app.command()
def restore(
    snapshot: Annotated[Path, typer.Argument(metavar="SNAPSHOT", help="A folder that 'index snapshot' made.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The index folder to make.")],
    store: StoreName = "lance",
    json: Json = None,
    quiet: Quiet = False,
) -> None:
    """Make an index of a snapshot; the snapshot stays as it is.

    Example: crosslens index restore photos-2026-01-31 --out photos.index
    """
    from crosslens.search.index.index import Index

    made = Index.restore(snapshot, out, store=store)
    emit_json(json, {"index": str(place_of(out)), **made.stats()})
    if is_shown(quiet, json):
        echo(f"{len(made)} items restored in {place_of(out)}")


@app.command()
def bench(
    index: Folder,
    queries: Annotated[
        int, typer.Option("--queries", min=10, help="Queries: half of them items, half away from them.")
    ] = 200,
    most: Annotated[
        int, typer.Option("--most", min=1000, help="Items at most; more are sampled, and build times projected.")
    ] = 200_000,
    json: Json = None,
    quiet: Quiet = False,
) -> None:
    """Measure each kind of serving structure on this index: what it finds, how fast, how large, how long to make.

    Recall is the share of the exact best 10 that is found, with and without a filter that leaves 1 %. The index
    itself is only read.

    Example: crosslens index bench photos.index --json bench.json
    """
    from crosslens.search.index.bench import bench_index
    from crosslens.search.index.index import Index

    found = bench_index(Index.open(index), queries=queries, most=most)
    emit_json(json, found)
    if is_free(json):
        rows = [[kind["name"], *(f"{kind[key]:.4g}" for key in found["columns"])] for kind in found["kinds"]]
        print_table(f"{found['measured']} of {found['items']} items", ("structure", *found["columns"]), rows)
