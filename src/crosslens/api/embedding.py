"""``embed``: the features of every image of a collection, in a folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from crosslens.backbones import load_backbone
from crosslens.data.source import Source, open_catalog
from crosslens.features.embed import EmbedReport, embed_catalog
from crosslens.images.decode import DecodeMode


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
    join: Sequence[Path] = (),
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
        join=join,
    )
