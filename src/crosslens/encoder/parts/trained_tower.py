"""An image tower that training changed: its weights belong to the encoder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

from torch import Tensor, nn

from crosslens.backbones.base import Backbone
from crosslens.encoder.parts.base import Part, PartSettings
from crosslens.encoder.parts.tensors import add_prefix, take_prefix


class TrainedTowerSettings(PartSettings):
    """See ``Part.Settings``.

    Attributes:
        tuned: whether the folder holds the image tower's own, trained weights.
    """

    tuned: bool = False


class TrainedTower(Part[TrainedTowerSettings]):
    """The trained weights of the backbone's tower.

    Args:
        tower: the tower of the encoder's backbone.
    """

    Settings = TrainedTowerSettings

    def __init__(self, tower: nn.Module) -> None:
        self.tower = tower

    @classmethod
    def load(
        cls, settings: TrainedTowerSettings, tensors: Mapping[str, Tensor], backbone: Backbone
    ) -> Self | None:
        """The weights go into the backbone."""
        if not settings.tuned:
            return None
        backbone.tower.load_state_dict(take_prefix("tower.", tensors))
        return cls(backbone.tower)

    @property
    def settings(self) -> TrainedTowerSettings:
        """That there are such weights."""
        return TrainedTowerSettings(tuned=True)

    def tensors(self) -> dict[str, Tensor]:
        """The whole tower."""
        return add_prefix("tower.", {name: value.cpu() for name, value in self.tower.state_dict().items()})

    def identity(self) -> dict[str, Tensor]:
        """Nothing that the backbone's fingerprint does not cover."""
        return {}

    @classmethod
    def card(cls, settings: TrainedTowerSettings) -> dict[str, str]:
        """Whether there are such weights."""
        return {"backbone weights trained too": "yes" if settings.tuned else "no"}
