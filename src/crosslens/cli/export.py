"""``crosslens export``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from crosslens.cli.early import require_encoders, require_name
from crosslens.cli.options import Json, Quiet, emit_json, is_shown
from crosslens.support.terminal import echo


def export(
    encoder: Annotated[str, typer.Argument(help="A run, an encoder folder or a backbone.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder to make.")],
    format: Annotated[str, typer.Option("--format", "-f", help="onnx, safetensors or torchscript.")] = "onnx",
    domain: Annotated[
        str | None,
        typer.Option("--domain", help="Of the pictures: its centre, map and prompts go into the network."),
    ] = None,
    json: Json = None,
    quiet: Quiet = False,
) -> None:
    """Write an encoder for other programs: one checked network from RGB squares to unit vectors.

    A network knows one domain. Where sketches ask photos, export one for each: their vectors fit together.

    Example: crosslens export runs/first --format onnx --domain sketch --out sketch-encoder
    """
    require_name("format", format, ("onnx", "safetensors", "torchscript"))
    require_encoders(encoder)
    from crosslens.encoder import load_encoder
    from crosslens.encoder.export import export_encoder

    loaded = load_encoder(encoder)
    folder = export_encoder(loaded, out, format, domain)  # type: ignore[arg-type]
    files = {file.name: file.stat().st_size for file in sorted(folder.iterdir())}
    emit_json(json, {"folder": str(folder), "dim": loaded.dim, "domain": domain, "files": files})
    if is_shown(quiet, json):
        echo(f"{folder}: {', '.join(files)}; vectors of {loaded.dim} numbers")
