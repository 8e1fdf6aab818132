"""The verbs of the command line as Python functions."""

from __future__ import annotations

from pathlib import Path

from crosslens.backbones import load_backbone
from crosslens.features.embed import EmbedReport, embed_catalog
from crosslens.fitting import Source, fit, open_catalog
from crosslens.images.decode import DecodeMode
from crosslens.measuring import compare, evaluate

__all__ = ["Source", "compare", "embed", "evaluate", "fit", "open_catalog"]


def embed(
    source: Source,
    *,
    out: str | Path,
    backbone: str = "lite",
    views: int = 0,
    decode: DecodeMode = "exact",
    device: str | None = None,
    workers: int | None = None,
    shard_size: int = 2048,
) -> EmbedReport:
    """Embed every image of ``source`` into the feature folder ``out``; see ``features.embed.embed_catalog``."""
    network = load_backbone(backbone, decode=decode)
    return embed_catalog(
        open_catalog(source),
        network,
        Path(out),
        views=views,
        device=device,
        workers=workers,
        shard_size=shard_size,
    )
