"""``embed``: the features of every image of a collection, in a folder."""

from __future__ import annotations

from collections.abc import Sequence

from crosslens.backbones import load_backbone
from crosslens.data.source import Source, open_catalog
from crosslens.features.embed import EmbedReport, embed_catalog
from crosslens.images.decode import DecodeMode
from crosslens.support.addresses import Place, place_of


def embed(
    source: Source,
    *,
    out: str | Place,
    backbone: str = "lite",
    views: int = 0,
    decode: DecodeMode = "exact",
    device: str | None = None,
    workers: int | None = None,
    shard_size: int = 2048,
    join: Sequence[Place] = (),
) -> EmbedReport:
    """Embed every image of ``source`` into the feature folder ``out``; see ``features.embed.embed_catalog``."""
    network = load_backbone(backbone, decode=decode)
    return embed_catalog(
        open_catalog(source),
        network,
        place_of(out),
        views=views,
        device=device,
        workers=workers,
        shard_size=shard_size,
        join=[place_of(folder) for folder in join],
    )
