"""The parts of an encoder, one file each."""

from __future__ import annotations

from crosslens.encoder.parts.base import AnyPart
from crosslens.encoder.parts.centre import Centre
from crosslens.encoder.parts.domain_map import DomainMap
from crosslens.encoder.parts.heads import Heads
from crosslens.encoder.parts.joint import Joint
from crosslens.encoder.parts.looks import Looks
from crosslens.encoder.parts.projection_head import ProjectionHead
from crosslens.encoder.parts.prompts import Prompts
from crosslens.encoder.parts.trained_tower import TrainedTower
from crosslens.encoder.parts.untrained import Untrained
from crosslens.encoder.parts.whitened import Whitened

PARTS: tuple[type[AnyPart], ...] = (
    TrainedTower,
    Prompts,
    Looks,
    Joint,
    Centre,
    Heads,
    ProjectionHead,
    DomainMap,
    Whitened,
    Untrained,
)
"""All known parts, in the order in which a picture passes them."""
