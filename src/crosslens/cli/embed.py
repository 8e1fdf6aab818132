"""``crosslens embed``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from crosslens.cli.early import require_backbones, require_name, require_sources
from crosslens.cli.jobs import as_job
from crosslens.cli.options import (
    Backbone,
    Decode,
    Device,
    Json,
    MaxPixels,
    Quiet,
    Split,
    Workers,
    emit_json,
    is_shown,
    tell_skipped,
)
from crosslens.support.addresses import place_of
from crosslens.support.errors import ConfigError
from crosslens.support.terminal import echo, print_table


def embed(
    root: Annotated[
        str | None,
        typer.Argument(
            help="A folder of images, a table (.csv, .parquet, .lance), archives (.tar) or a list (.txt), by its"
            " path or an address such as s3://BUCKET/FOLDER."
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The feature folder to make or continue.")
    ] = None,
    backbone: Backbone = "lite",
    views: Annotated[int, typer.Option("--views", min=0, help="Random views beside the centre view.")] = 0,
    decode: Decode = "exact",
    split: Split = None,
    shard_size: Annotated[
        int, typer.Option("--shard-size", min=1, help="Images a shard: what a kill may lose.")
    ] = 2048,
    join: Annotated[
        list[Path] | None,
        typer.Option(
            "--join",
            help="A feature folder of another machine to take vectors from; again for more. Alone, without ROOT: a"
            " folder made with --part, whose parts become one.",
        ),
    ] = None,
    part: Annotated[
        str | None,
        typer.Option(
            "--part",
            metavar="K/N",
            help="Only the K-th of N equal parts, 3/16, for processes or machines that share the work; join them"
            " afterwards.",
        ),
    ] = None,
    runner: Annotated[
        str,
        typer.Option("--runner", help="threads of this process, or ray: a Ray cluster."),
    ] = "threads",
    address: Annotated[
        str | None,
        typer.Option(
            "--address",
            help="With --runner ray, the cluster: HOST:6379 from a node of it, ray://HOST:10001 from elsewhere;"
            " RAY_ADDRESS by default, and without that one is started on this machine.",
        ),
    ] = None,
    device: Device = None,
    workers: Workers = None,
    max_pixels: MaxPixels = None,
    json: Json = None,
    quiet: Quiet = False,
) -> None:
    """Embed every image once, resumably.

    Run it again after an interruption: finished shards are kept, only what failed or changed is tried again.

    Example: crosslens embed photos/ --out features/ --views 3

    In parts: crosslens embed photos/ --out features/ --part 1/2; the same with --part 2/2, at the same time or
    later; then crosslens embed --join features/
    """
    require_sources(root)
    require_backbones(backbone)
    require_name("runner", runner, ("threads", "ray"))
    alone = root is None and out is None and join is not None and len(join) == 1 and part is None
    if not alone and (root is None or out is None):
        raise ConfigError("give ROOT and --out FOLDER; or --join FOLDER alone, to join the parts in a folder")
    if part is not None and join:
        raise ConfigError("--join takes no vectors into a part: leave --part or --join out")
    from crosslens import api
    from crosslens.data.splits import select_splits
    from crosslens.features.parts import Part

    if root is None or out is None:
        folder = (join or [])[0]
        with as_job("embed", folder):
            _join(folder, json, quiet)
        return
    chosen = None if part is None else Part.parse(part)
    with as_job("embed", chosen.place(place_of(out)) if chosen else out):
        result = api.embed(
            root if split is None else select_splits(api.open_catalog(root), split),
            out=out,
            backbone=backbone,
            views=views,
            decode=decode,  # type: ignore[arg-type]
            device=device,
            workers=workers,
            shard_size=shard_size,
            join=join or (),
            part=chosen,
            runner=runner,  # type: ignore[arg-type]
            address=address,
        )
    value: dict[str, Any] = {
        "folder": str(result.folder),
        "embedded": result.embedded,
        "reused": result.reused,
        "seconds": round(result.seconds, 3),
        "images_per_second": {stage: round(rate, 2) for stage, rate in result.rates.items()},
        "skipped": [vars(entry) for entry in result.skipped],
        "left_out": result.left_out,
    }
    emit_json(json, value)
    if not is_shown(quiet, json):
        return
    print_table(
        f"features in {result.folder}",
        ("what", "images", "images/s"),
        [
            ("embedded now", str(result.embedded), f"{result.rates['total']:.1f}"),
            ("there before", str(result.reused), ""),
            ("skipped", str(len(result.skipped)), ""),
            *(
                (f"  stage {stage}, a worker", "", f"{rate:.1f}")
                for stage, rate in result.rates.items()
                if stage != "total" and rate
            ),
        ],
    )
    tell_skipped([entry.told for entry in result.skipped])
    if chosen is not None:
        _tell_parts(out)


def _join(folder: Path, json: Path | None, quiet: bool) -> None:
    from crosslens.features.parts import join_parts

    result = join_parts(folder)
    value = {
        "folder": str(result.folder),
        "parts": result.parts,
        "images": result.images,
        "skipped": [vars(entry) for entry in result.skipped],
    }
    emit_json(json, value)
    if is_shown(quiet, json):
        echo(
            f"{result.folder}: {result.parts} parts joined, {result.images} images, {len(result.skipped)} skipped"
        )
        tell_skipped([entry.told for entry in result.skipped])


def _tell_parts(folder: Path) -> None:
    from crosslens.features.parts import finished_parts

    done, of = finished_parts(folder)
    more = f"; join them with 'crosslens embed --join {place_of(folder)}'" if done == of else ""
    echo(f"{done} of {of} parts are finished{more}")
