"""The looks of domains: mean features by which the domain of a picture is told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

from torch import Tensor

from crosslens.backbones.base import Backbone
from crosslens.encoder.parts.base import Part, PartSettings
from crosslens.encoder.parts.tensors import number_domains, read_domains, sort_domains


class LooksSettings(PartSettings):
    """See ``Part.Settings``.

    Attributes:
        looks: domains whose mean feature is kept.
    """

    looks: tuple[str, ...] = ()


class Looks(Part[LooksSettings]):
    """Tells a picture's domain. It changes no vector, so it is no part of the fingerprint.

    Args:
        means: per domain the mean ``(D,)`` of the frozen backbone's features.
    """

    Settings = LooksSettings

    def __init__(self, means: Mapping[str, Tensor]) -> None:
        self.means = sort_domains(means)

    @classmethod
    def load(cls, settings: LooksSettings, tensors: Mapping[str, Tensor], backbone: Backbone) -> Self | None:
        """The means that are listed."""
        return cls(read_domains("look.", tensors, settings.looks)) if settings.looks else None

    @property
    def settings(self) -> LooksSettings:
        """The domains."""
        return LooksSettings(looks=tuple(self.means))

    def tensors(self) -> dict[str, Tensor]:
        """The means."""
        return number_domains("look.", self.means)

    def identity(self) -> dict[str, Tensor]:
        """Nothing."""
        return {}

    @property
    def is_empty(self) -> bool:
        """Whether no domain has a mean."""
        return not self.means

    @property
    def domain_means(self) -> Mapping[str, Tensor]:
        """The means."""
        return self.means

    def domain_rows(self, rows: Tensor, features: Tensor) -> Tensor:
        """The features."""
        return features
