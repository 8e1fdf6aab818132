"""The space shared with text, in place of the backbone's features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, Self

from torch import Tensor

from crosslens.backbones.base import Backbone
from crosslens.encoder.parts.base import Part, PartSettings, Space
from crosslens.encoder.parts.tensors import text_bytes
from crosslens.support.errors import BackboneError


class JointSettings(PartSettings):
    """See ``Part.Settings``.

    Attributes:
        space: ``features``, or ``joint`` for the space shared with text.
    """

    space: Literal["features", "joint"] = "features"


class Joint(Part[JointSettings]):
    """Takes features to the backbone's space shared with text.

    Args:
        backbone: the encoder's.

    Raises:
        BackboneError: when it has no such space.
    """

    Settings = JointSettings
    suffix = ":joint"
    leaves_features = True
    gives_unit_rows = True

    def __init__(self, backbone: Backbone) -> None:
        if not backbone.has_text:
            raise BackboneError(
                f"{backbone.name} has no space shared with text; use lite, clip:PATH or siglip:PATH"
            )
        self.backbone = backbone

    @classmethod
    def load(cls, settings: JointSettings, tensors: Mapping[str, Tensor], backbone: Backbone) -> Self | None:
        """The backbone knows the way."""
        return cls(backbone) if settings.space == "joint" else None

    @property
    def settings(self) -> JointSettings:
        """The space."""
        return JointSettings(space="joint")

    def identity(self) -> dict[str, Tensor]:
        """Which space it is, where the same features have several."""
        kind = self.backbone.joint_kind
        return {"joint": text_bytes(kind)} if kind else {}

    @classmethod
    def card(cls, settings: JointSettings) -> dict[str, str]:
        """The space."""
        return {"space": settings.space}

    def __call__(self, rows: Tensor, names: Sequence[str | None]) -> Tensor:
        """Features ``(N, D)`` to unit rows ``(N, J)``."""
        return self.backbone.to_joint(rows)

    def dim_after(self, dim: int) -> int:
        """J."""
        return self.backbone.joint_dim or 0

    @classmethod
    def space_after(cls, settings: JointSettings, space: Space, features: Space) -> Space:
        """The shared one."""
        return Space.SHARED
