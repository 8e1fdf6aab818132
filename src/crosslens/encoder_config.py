"""What the ``config.json`` of an encoder folder holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict

from crosslens.backbones.base import Fingerprint
from crosslens.nn.heads import HeadGroup
from crosslens.nn.projection import Projection, ProjectionShape
from crosslens.nn.prompts import PromptShape

if TYPE_CHECKING:
    from crosslens.encoder import Encoder

FORMAT = 1
Space = Literal["features", "joint"]


class EncoderConfig(BaseModel):
    """What ``config.json`` of an encoder folder holds.

    Attributes:
        format: version of the layout.
        method: how the encoder was obtained, such as ``ucdir`` or ``frozen``.
        backbone: name for ``load_backbone``.
        fingerprint: of the backbone's own features, checked on loading.
        space: ``features``, or ``joint`` for the space shared with text.
        head: widths of the head, or None.
        members: heads side by side.
        unit_inputs: see ``Head``.
        projection: TKI's projection in place of a head, or None.
        domains: domains with a centre of their own.
        mapped: domains with a linear map of their own, applied last.
        text: whether the head's vectors lie in the space shared with text.
        prompts: what was appended to a frozen vision transformer's tokens, or None.
        whitened: domains of the whitened part beside the head; empty without one.
        whitened_share: its share of every score.
        whitened_power: what features are raised to in it.
        tuned: whether the folder holds the image tower's own, trained weights.
        looks: domains whose mean feature is kept, to tell a picture's domain by.
        trained: facts for the model card (root, domains, settings, marks such as ``oracle``).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: int = FORMAT
    method: str
    backbone: str
    fingerprint: Fingerprint
    space: Space = "features"
    head: tuple[int, ...] | None = None
    members: int = 1
    unit_inputs: bool = True
    projection: ProjectionShape | None = None
    domains: tuple[str, ...] = ()
    mapped: tuple[str, ...] = ()
    text: bool = False
    prompts: PromptShape | None = None
    whitened: tuple[str, ...] = ()
    whitened_share: float = 0.0
    whitened_power: float = 1.0
    tuned: bool = False
    looks: tuple[str, ...] = ()
    trained: dict[str, Any] = {}


def describe(encoder: Encoder) -> EncoderConfig:
    """What an encoder's folder says about it."""
    return EncoderConfig(
        method=encoder.method,
        backbone=encoder.backbone.name,
        fingerprint=encoder.backbone.fingerprint,
        space=encoder.space,
        head=encoder.head.sizes if isinstance(encoder.head, HeadGroup) else None,
        members=len(encoder.head.members) if isinstance(encoder.head, HeadGroup) else 1,
        unit_inputs=encoder.head.unit_inputs if isinstance(encoder.head, HeadGroup) else True,
        projection=encoder.head.shape if isinstance(encoder.head, Projection) else None,
        domains=tuple(encoder.means),
        mapped=tuple(encoder.maps),
        text=encoder.text,
        prompts=None if encoder.prompted is None else encoder.prompted.shape,
        whitened=() if encoder.whitened is None else tuple(encoder.whitened.means),
        whitened_share=0.0 if encoder.whitened is None else encoder.whitened.share,
        whitened_power=1.0 if encoder.whitened is None else encoder.whitened.power,
        tuned=encoder.tuned,
        looks=tuple(encoder.looks),
        trained=encoder.trained,
    )
