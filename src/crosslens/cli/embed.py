"""``crosslens embed``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

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
)
from crosslens.support.terminal import echo, print_table


def embed(
    root: Annotated[str, typer.Argument(help="A folder of images, a manifest (.csv, .parquet) or a list (.txt).")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The feature folder to make or continue.")],
    backbone: Backbone = "lite",
    views: Annotated[int, typer.Option("--views", min=0, help="Random views beside the centre view.")] = 0,
    decode: Decode = "exact",
    split: Split = None,
    shard_size: Annotated[
        int, typer.Option("--shard-size", min=1, help="Images a shard: what a kill may lose.")
    ] = 2048,
    join: Annotated[
        list[Path] | None,
        typer.Option("--join", help="A feature folder of another machine to take vectors from; again for more."),
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
    """
    from crosslens import api
    from crosslens.data.splits import select_splits

    result = api.embed(
        select_splits(api.open_catalog(root), split),
        out=out,
        backbone=backbone,
        views=views,
        decode=decode,  # type: ignore[arg-type]
        device=device,
        workers=workers,
        shard_size=shard_size,
        join=join or (),
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
    for entry in result.skipped[:20]:
        echo(f"skipped {entry.path}: {entry.reason}", err=True)
    if len(result.skipped) > 20:
        echo(f"... and {len(result.skipped) - 20} more; --json lists them all", err=True)
