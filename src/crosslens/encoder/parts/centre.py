"""Centring: the mean of a row's domain is subtracted from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Self

from torch import Tensor

from crosslens.backbones.base import Backbone
from crosslens.encoder.parts.base import Part, PartSettings, Space
from crosslens.encoder.parts.tensors import add_prefix, number_domains, pick_means, read_domains, sort_domains
from crosslens.ops.rounding import difference


class CentreSettings(PartSettings):
    """See ``Part.Settings``.

    Attributes:
        domains: domains with a mean of their own.
    """

    domains: tuple[str, ...] = ()


class Centre(Part[CentreSettings]):
    """Rows minus the mean of their domain: what a constant shift between the looks explains.

    Rows of an unknown domain lose the mean of the known means.

    Args:
        means: per domain ``(D,)``, or ``(J,)`` in the space shared with text.
    """

    Settings = CentreSettings

    def __init__(self, means: Mapping[str, Tensor]) -> None:
        self.means = sort_domains(means)

    @classmethod
    def load(cls, settings: CentreSettings, tensors: Mapping[str, Tensor], backbone: Backbone) -> Self | None:
        """The means that are listed."""
        return cls(read_domains("mean.", tensors, settings.domains)) if settings.domains else None

    @property
    def settings(self) -> CentreSettings:
        """The domains."""
        return CentreSettings(domains=self.domains)

    def tensors(self) -> dict[str, Tensor]:
        """The means."""
        return number_domains("mean.", self.means)

    def identity(self) -> dict[str, Tensor]:
        """The means and whose they are."""
        return add_prefix("mean.", self.means)

    @classmethod
    def card(cls, settings: CentreSettings) -> dict[str, str]:
        """The domains."""
        return {"domains with a centre of their own": ", ".join(settings.domains) or "none"}

    @property
    def is_empty(self) -> bool:
        """Whether no domain has a mean."""
        return not self.means

    @property
    def domains(self) -> tuple[str, ...]:
        """Those with a mean."""
        return tuple(self.means)

    @property
    def domain_means(self) -> Mapping[str, Tensor]:
        """The means."""
        return self.means

    def __call__(self, rows: Tensor, names: Sequence[str | None]) -> Tensor:
        """Rows ``(N, d)`` without their domains' means."""
        return difference(rows, pick_means(self.means, names))

    @classmethod
    def space_after(cls, settings: CentreSettings, space: Space, features: Space) -> Space:
        """Images leave the place where texts lie; texts are not moved."""
        return Space.SHIFTED if space.has_text else space
