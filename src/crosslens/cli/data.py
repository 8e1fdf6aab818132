"""``crosslens data``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from crosslens.cli import completion
from crosslens.cli.options import Json, MaxPixels, Quiet, Split, emit_json, is_free, is_shown, split_names
from crosslens.support.terminal import echo, print_table

if TYPE_CHECKING:
    from crosslens.datasets.benchmark import Benchmark

app = typer.Typer(help="Look at collections of images before anything is computed.", no_args_is_help=True)


@app.command()
def check(
    root: Annotated[str, typer.Argument(help="A folder of images, a manifest or a list.")],
    benchmark: Annotated[
        str | None,
        typer.Option(
            "--as",
            autocompletion=completion.BENCHMARKS,
            help="Compare with a benchmark's counts; 'crosslens data benchmarks' lists them.",
        ),
    ] = None,
    decode: Annotated[bool, typer.Option("--decode", help="Decode every image, to find damaged ones.")] = False,
    duplicates: Annotated[bool, typer.Option("--duplicates", help="Compare contents, to find copies.")] = False,
    max_pixels: MaxPixels = None,
    json: Json = None,
    quiet: Quiet = False,
) -> None:
    """Count images per domain and class; name what is missing, damaged, stray or duplicated.

    Leaves with status 1 when there is an error; warnings do not count.

    Example: crosslens data check pictures/ --decode        crosslens data check OfficeHome/ --as office-home
    """
    from crosslens.datasets import find_benchmark
    from crosslens.datasets.check import check as check_images
    from crosslens.support.progress import counted_progress

    known = find_benchmark(benchmark) if benchmark else None
    with counted_progress("checking") as show:
        report = check_images(root, known, decode=decode, hash=duplicates, on_progress=show)
    emit_json(json, report.to_json())
    if is_free(json):
        rows = [
            (domain, str(sum(row.values())), str(len([label for label in row if label])), str(row.get("", 0)))
            for domain, row in report.counts.items()
        ]
        print_table(str(report.root), ("domain", "images", "classes", "without label"), rows)
        for problem in report.problems:
            place = f" ({problem.path})" if problem.path and problem.path not in problem.message else ""
            echo(f"{problem.severity}: {problem.message}{place}", err=problem.severity == "error")
    if not report.ok:
        raise typer.Exit(1)


@app.command("list")
def write_list(
    root: Annotated[str, typer.Argument(help="A folder of images, a manifest or a list.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The manifest to write, .csv or .parquet.")],
    benchmark: Annotated[
        str | None,
        typer.Option("--as", autocompletion=completion.BENCHMARKS, help="Read ROOT in a benchmark's own layout."),
    ] = None,
    domains: Annotated[str | None, typer.Option("--domains", help="Only these domains: A,B.")] = None,
    split: Split = None,
    json: Json = None,
    quiet: Quiet = False,
) -> None:
    """Write a manifest (id, path, domain, label, split, role) that every command reads.

    Example: crosslens data list OfficeHome/ --as office-home --out office-home.parquet
    """
    from crosslens.data.source import open_catalog
    from crosslens.data.splits import select_splits
    from crosslens.datasets import find_benchmark

    catalog = find_benchmark(benchmark).read(Path(root)) if benchmark else open_catalog(root)
    if benchmark and not quiet:
        for sentence in catalog.notes:
            echo(f"note: {sentence}", err=True)
    names = split_names(domains)
    if names:
        catalog = catalog.select(domains=names)
    catalog = select_splits(catalog, split)
    catalog.write(out)
    value = {"manifest": str(out), "images": len(catalog), "domains": catalog.domains}
    emit_json(json, value | {"left_out": dict(catalog.left_out), "notes": list(catalog.notes)})
    if is_shown(quiet, json):
        echo(f"{len(catalog)} images listed in {out}")


@app.command()
def emoji(
    out: Annotated[Path, typer.Option("--out", "-o", help="The manifest to write, .csv or .parquet.")],
    level: Annotated[
        str, typer.Option("--level", help="What a label is: concept, subgroup or group.")
    ] = "subgroup",
    domains: Annotated[str, typer.Option("--domains", help="Of line, color and flat.")] = "line,flat",
    min_members: Annotated[int, typer.Option("--min-members", min=0, help="Leave out smaller labels.")] = 0,
    json: Json = None,
    quiet: Quiet = False,
) -> None:
    """Draw the built-in pictures (OpenMoji and Twemoji) into the cache and write a manifest of them.

    Example: crosslens data emoji --out emoji.csv && crosslens evaluate lite emoji.csv
    """
    from crosslens.datasets.emoji import emoji_catalog
    from crosslens.support.progress import counted_progress

    with counted_progress("drawing") as show:
        catalog = emoji_catalog(
            level,  # type: ignore[arg-type]
            tuple(split_names(domains) or ()),  # type: ignore[arg-type]
            min_members=min_members,
            on_progress=show,
        )
    catalog.write(out)
    emit_json(json, {"manifest": str(out), "images": len(catalog), "labels": len(catalog.classes)})
    if is_shown(quiet, json):
        echo(f"{len(catalog)} pictures with {len(catalog.classes)} labels listed in {out}")


@app.command()
def benchmarks(json: Json = None, quiet: Quiet = False) -> None:
    """List the benchmarks crosslens reads in their official layouts, and their published splits."""
    from crosslens.datasets import BENCHMARKS

    value = {
        name: {
            "title": b.title,
            "domains": list(b.domains),
            "classes": len(b.classes),
            "layout": b.layout,
            "aliases": list(b.aliases),
            "splits": _split_names(b),
        }
        for name, b in BENCHMARKS.items()
    }
    emit_json(json, value)
    if is_free(json):
        rows = [
            (name, b.title, str(len(b.domains)), str(len(b.classes)), ", ".join(_split_names(b)))
            for name, b in BENCHMARKS.items()
        ]
        print_table("benchmarks", ("name", "title", "domains", "classes", "splits for --unseen"), rows)


def _split_names(benchmark: Benchmark) -> list[str]:
    return [split.full_name for split in benchmark.splits.values()]
