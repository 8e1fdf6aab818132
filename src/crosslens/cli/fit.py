"""``crosslens fit``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from crosslens.cli.options import (
    Backbone,
    Decode,
    Device,
    Domains,
    Draw,
    Features,
    Json,
    MaxPixels,
    PrivateGallery,
    PrivateQuery,
    Quiet,
    Shared,
    Split,
    Unseen,
    Workers,
    emit_json,
    left_out_of,
    parse_settings,
    scenario_draw,
    split_names,
)
from crosslens.support.errors import ConfigError


def fit(
    method: Annotated[
        str,
        typer.Argument(
            help="ucdir, uem, clair, text-map, tki, or a baseline: frozen, centred, instance, protonce,"
            " supervised."
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The run folder to make.")],
    root: Annotated[
        str | None, typer.Argument(help="A folder root/<domain>/..., a manifest or a list; tki needs none.")
    ] = None,
    domains: Domains = None,
    backbone: Backbone = "lite",
    tune: Annotated[
        str | None, typer.Option("--tune", help="head (minutes on a CPU), full (a GPU) or prompts (CLIP).")
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="A setting of the method, key=value; again for more.")
    ] = None,
    recipe: Annotated[
        str | None, typer.Option("--recipe", help="Such as ucdir-office-home or uem-domainnet, or a YAML file.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Of everything random.")] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in --out where it stopped.")] = False,
    oracle: Annotated[
        bool,
        typer.Option(
            "--oracle", help="Let labels choose the number of clusters and the epoch; results are marked."
        ),
    ] = False,
    classes: Annotated[
        Path | None, typer.Option("--classes", help="Class names, one a line, for methods that learn from names.")
    ] = None,
    unseen: Unseen = None,
    protocol: Annotated[
        str | None,
        typer.Option(
            "--protocol", help="Train on the classes of a scenario only: close-set, partial or open-set."
        ),
    ] = None,
    shared: Shared = None,
    private_query: PrivateQuery = None,
    private_gallery: PrivateGallery = None,
    draw: Draw = None,
    split: Split = None,
    decode: Decode = "exact",
    features: Features = None,
    device: Device = None,
    workers: Workers = None,
    max_pixels: MaxPixels = None,
    json: Json = None,
    quiet: Quiet = False,
) -> None:
    """Train an encoder for the domains of ROOT, without labels unless the method is 'supervised'.

    Of images marked with splits, those of 'train' are learned from unless --split says otherwise.

    Example: crosslens fit ucdir pictures/ --domains sketch,photo --out runs/first
    """
    from crosslens.api.fit_request import FitRequest
    from crosslens.api.fitting import train
    from crosslens.evaluation.scenarios import KINDS
    from crosslens.support.progress import note

    scenario = scenario_draw(protocol, shared, private_query, private_gallery, draw)
    if protocol is not None and scenario is None:
        raise ConfigError(f"fit --protocol takes {', '.join(KINDS)}, not {protocol!r}; others are for evaluate")
    request = FitRequest.of(
        method=method,
        source=root,
        out=out,
        domains=split_names(domains),
        backbone=backbone,
        tune=tune,
        seed=seed,
        settings=parse_settings(settings or []),
        recipe=recipe,
        decode=decode,
        features=features,
        device=device,
        workers=workers,
        resume=resume,
        oracle=oracle,
        classes=classes,
        unseen=unseen,
        split=split,
        scenario=scenario,
    )
    run = train(request)
    value = {"run": str(run.folder), "encoder": str(run.encoder_folder), **run.config()}
    if json is not None and root is not None:
        value["left_out"] = left_out_of(root)
    emit_json(json, value)
    images = "" if "source" in run.config() else " ROOT"
    note(f"the encoder is in {run.encoder_folder}; measure it with: crosslens evaluate {run.folder}{images}")
