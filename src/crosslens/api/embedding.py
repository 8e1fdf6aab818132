"""``embed``: the features of every image of a collection, in a folder."""

from __future__ import annotations

from collections.abc import Sequence

from crosslens.backbones import load_backbone
from crosslens.data.source import Source, open_catalog
from crosslens.features.embed import EmbedReport, embed_catalog
from crosslens.features.parts import Part, embed_part
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
    part: Part | None = None,
) -> EmbedReport:
    """Embed every image of ``source`` into the feature folder ``out``; see ``features.embed.embed_catalog``.

    With ``part`` only that part of them, until ``join_parts`` makes one folder of all parts.
    """
    catalog, network = open_catalog(source), load_backbone(backbone, decode=decode)
    if part is not None:
        return embed_part(
            catalog,
            network,
            place_of(out),
            part,
            views=views,
            device=device,
            workers=workers,
            shard_size=shard_size,
            join=[place_of(folder) for folder in join],
        )
    return embed_catalog(
        catalog,
        network,
        place_of(out),
        views=views,
        device=device,
        workers=workers,
        shard_size=shard_size,
        join=[place_of(folder) for folder in join],
    )
