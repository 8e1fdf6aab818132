"""What is asked of ``match``."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from crosslens.backbones.devices import Device
from crosslens.data.source import Source
from crosslens.search.index.index_request import EncoderSource
from crosslens.support.request import Request


class MatchRequest(Request):
    """Which pictures are to be paired with which, and how surely."""

    a: Source
    """The pictures that ask; without ``b`` a collection that holds both sides as two domains."""

    b: Source | None = None
    """The pictures among which their partners are."""

    domains: tuple[str, ...] | None = None
    """Without ``b``: the two domains of ``a`` to pair; all where it has just two. With ``b``: what a trained
    encoder calls the looks of ``a`` and ``b``."""

    encoder: EncoderSource = "lite"
    """Makes the vectors: an Encoder, a run, an encoder folder or a backbone's name."""

    many: bool = False
    """Every picture of ``a`` may have a partner, and several the same one, such as many photos of one product;
    otherwise a picture of either side has one partner at most."""

    min_match: float = Field(0.5, ge=0, le=1)
    """Pairs that are less probable than this are none: both pictures have no partner, and the other one is named
    as a guess."""

    features: Path | None = None
    """A feature folder of ``a`` where it holds both sides; the cache by default."""

    device: Device | None = None
    """Where to embed; None chooses. See ``crosslens.backbones.engine.make_engine``."""
