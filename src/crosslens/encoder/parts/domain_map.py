"""A linear map for each domain, applied to unit vectors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Self

import torch
from torch import Tensor
from torch.nn import functional as F

from crosslens.backbones.base import Backbone
from crosslens.encoder.parts.base import Part, PartSettings
from crosslens.encoder.parts.tensors import (
    add_prefix,
    mask_domain,
    number_domains,
    read_domains,
    sort_domains,
)


class DomainMapSettings(PartSettings):
    """See ``Part.Settings``.

    Attributes:
        mapped: domains with a map of their own.
    """

    mapped: tuple[str, ...] = ()


class DomainMap(Part[DomainMapSettings]):
    """``z -> normalise(z W)`` with the W of z's domain, on each head's part of a row alone.

    Rows of other domains, and texts, are left as they are.

    Args:
        maps: per domain W ``(J, J)``; rows below W are what is added after it: one for all heads, or one a head.
    """

    Settings = DomainMapSettings
    takes_unit_rows = True
    gives_unit_rows = True

    def __init__(self, maps: Mapping[str, Tensor]) -> None:
        self.maps = sort_domains(maps)

    @classmethod
    def load(cls, settings: DomainMapSettings, tensors: Mapping[str, Tensor], backbone: Backbone) -> Self | None:
        """The maps that are listed."""
        return cls(read_domains("map.", tensors, settings.mapped)) if settings.mapped else None

    @property
    def settings(self) -> DomainMapSettings:
        """The domains."""
        return DomainMapSettings(mapped=self.domains)

    def tensors(self) -> dict[str, Tensor]:
        """The maps."""
        return number_domains("map.", self.maps)

    def identity(self) -> dict[str, Tensor]:
        """The maps and whose they are."""
        return add_prefix("map.", self.maps)

    @classmethod
    def card(cls, settings: DomainMapSettings) -> dict[str, str]:
        """The domains."""
        return {"domains with a map of their own": ", ".join(settings.mapped) or "none"}

    @property
    def is_empty(self) -> bool:
        """Whether no domain has a map."""
        return not self.maps

    @property
    def domains(self) -> tuple[str, ...]:
        """Those with a map."""
        return tuple(self.maps)

    def __call__(self, rows: Tensor, names: Sequence[str | None]) -> Tensor:
        """Unit rows ``(N, d)`` through their domains' maps; unit rows again."""
        if self.is_empty:
            return rows
        width = next(iter(self.maps.values())).shape[1]
        split = rows.unflatten(1, (-1, width))
        mapped = split
        for domain, matrix in self.maps.items():
            of_domain = mask_domain(names, domain).view(-1, 1, 1)
            # Each head's part is 1 / sqrt(M) long; shifts are meant for unit rows.
            moved = F.normalize(split, dim=2) @ matrix[:width]
            if len(matrix) > width:
                moved = moved + matrix[width:]
            mapped = torch.where(of_domain, F.normalize(moved, dim=2) / split.shape[1] ** 0.5, mapped)
        return mapped.flatten(1)
