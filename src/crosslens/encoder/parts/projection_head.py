"""TKI's projection: a head that images and texts of the joint space pass alike, into the ball or flat."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Self

from torch import Tensor

from crosslens.backbones.base import Backbone
from crosslens.encoder.parts.base import Part, PartSettings, Space
from crosslens.encoder.parts.tensors import add_prefix, take_prefix, text_bytes
from crosslens.nn.projection import Projection, ProjectionShape
from crosslens.nn.similarity import ROWS, Similarity


class ProjectionHeadSettings(PartSettings):
    """See ``Part.Settings``.

    Attributes:
        projection: what the projection is made of, or None.
    """

    projection: ProjectionShape | None = None


class ProjectionHead(Part[ProjectionHeadSettings]):
    """A projection whose points are stored as unit rows; see ``crosslens.nn.similarity``.

    Args:
        projection: trained.
    """

    Settings = ProjectionHeadSettings
    gives_unit_rows = True

    def __init__(self, projection: Projection) -> None:
        self.projection = projection.cpu().eval().requires_grad_(False)

    @classmethod
    def load(
        cls, settings: ProjectionHeadSettings, tensors: Mapping[str, Tensor], backbone: Backbone
    ) -> Self | None:
        """A projection of the shape that is given."""
        if settings.projection is None:
            return None
        projection = Projection(settings.projection)
        projection.load_state_dict(take_prefix("head.", tensors))
        return cls(projection)

    @property
    def settings(self) -> ProjectionHeadSettings:
        """What it is made of."""
        return ProjectionHeadSettings(projection=self.projection.shape)

    def tensors(self) -> dict[str, Tensor]:
        """All weights."""
        return add_prefix("head.", self.projection.state_dict())

    def identity(self) -> dict[str, Tensor]:
        """All weights, and what their numbers mean: curvature, bounds, and the form of the rows."""
        return self.tensors() | {"head.shape": text_bytes(f"{ROWS} {self.projection.shape.model_dump_json()}")}

    @property
    def similarity(self) -> Similarity:
        """By distance in the ball, or by cosine."""
        return self.projection.shape.similarity

    def __call__(self, rows: Tensor, names: Sequence[str | None]) -> Tensor:
        """Rows ``(N, J)`` to unit rows ``(N, d)``."""
        return self.projection.encode(rows)

    def on_texts(self, rows: Tensor) -> Tensor:
        """As images."""
        return self.projection.encode(rows)

    def dim_after(self, dim: int) -> int:
        """The length of a stored row."""
        return self.projection.dim

    @classmethod
    def space_after(cls, settings: ProjectionHeadSettings, space: Space, features: Space) -> Space:
        """Texts pass with the images, unless those were moved away from them before."""
        return Space.SHARED if space is Space.SHARED else Space.OWN
