"""``embed``: the features of every image of a collection, in a folder."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Literal

from crosslens.backbones import load_backbone
from crosslens.data.source import Source, open_catalog, open_in_parts
from crosslens.features.embed import EmbedReport, embed_catalog, embed_in_turn
from crosslens.features.on_ray import OnRay
from crosslens.features.parts import Part, embed_part
from crosslens.features.runner import OnThreads, Runner
from crosslens.images.decode import DecodeMode
from crosslens.support.addresses import Place, place_of
from crosslens.support.errors import ConfigError

RunnerName = Literal["threads", "ray"]
"""Who embeds: threads of this process, or a cluster of Ray."""


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
    runner: RunnerName = "threads",
    address: str | None = None,
) -> EmbedReport:
    """Embed every image of ``source`` into the feature folder ``out``; see ``features.embed.embed_catalog``.

    A Parquet or Lance table that is larger than ``data.source.PART`` rows is read and embedded part by part.

    With ``part`` only that part of them, until ``join_parts`` makes one folder of all parts. The runner ``ray``
    embeds on the Ray cluster at ``address``; see ``features.on_ray.OnRay``.

    Raises:
        ConfigError: for an address without Ray.
    """
    if runner != "ray" and address is not None:
        raise ConfigError("an address is that of a Ray cluster: add --runner ray")
    network = load_backbone(backbone, decode=decode)
    chosen: Runner = OnRay(backbone, address, workers, device) if runner == "ray" else OnThreads(workers, device)
    if part is None and not join:
        parts = open_in_parts(source)
        catalog, more = next(parts), next(parts, None)
        if more is not None:
            whole = chain((catalog, more), parts)
            return embed_in_turn(whole, network, place_of(out), views=views, shard_size=shard_size, runner=chosen)
    else:
        # Parts are cut from the whole listing.
        catalog = open_catalog(source)
    if part is not None:
        return embed_part(
            catalog,
            network,
            place_of(out),
            part,
            views=views,
            shard_size=shard_size,
            join=[place_of(folder) for folder in join],
            runner=chosen,
        )
    return embed_catalog(
        catalog,
        network,
        place_of(out),
        views=views,
        shard_size=shard_size,
        join=[place_of(folder) for folder in join],
        runner=chosen,
    )
