"""What the ``config.json`` of an encoder folder holds."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from crosslens.backbones.base import Fingerprint
from crosslens.nn.projection import ProjectionShape
from crosslens.nn.prompts import PromptShape

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
    trained: dict[str, Any] = {}
