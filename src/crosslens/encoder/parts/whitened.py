"""A part that stays with the frozen features, beside a trained head: centred per domain, and whitened."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Self

import torch
from torch import Tensor
from torch.nn import functional as F

from crosslens.backbones.base import Backbone
from crosslens.encoder.parts.base import Part, PartSettings
from crosslens.encoder.parts.tensors import add_prefix, number_domains, pick_means, read_domains, take_prefix
from crosslens.ops.rounding import difference
from crosslens.ops.whitening import join_shares, powered


class WhitenedSettings(PartSettings):
    """See ``Part.Settings``.

    Attributes:
        whitened: its domains; empty without it.
        whitened_share: its share of every score.
        whitened_power: what features are raised to in it.
    """

    whitened: tuple[str, ...] = ()
    whitened_share: float = 0.0
    whitened_power: float = 1.0


class Whitened(Part[WhitenedSettings]):
    """Keeps an encoder useful for classes that its head never saw; in closed form.

    Args:
        matrix: ``(D, e)``.
        means: per domain the mean ``(D,)`` of its features, after ``powered``.
        share: w in [0, 1], how much of every score is this part's.
        power: see ``crosslens.ops.whitening.powered``.
    """

    Settings = WhitenedSettings
    takes_unit_rows = True
    gives_unit_rows = True

    def __init__(self, matrix: Tensor, means: Mapping[str, Tensor], share: float, power: float = 1.0) -> None:
        self.matrix, self.means, self.share, self.power = matrix, dict(means), share, power

    @classmethod
    def load(cls, settings: WhitenedSettings, tensors: Mapping[str, Tensor], backbone: Backbone) -> Self | None:
        """The matrix, and the means that are listed."""
        if not settings.whitened:
            return None
        tensors = take_prefix("whitened.", tensors)
        means = read_domains("mean.", tensors, settings.whitened)
        return cls(tensors["matrix"], means, settings.whitened_share, settings.whitened_power)

    @property
    def settings(self) -> WhitenedSettings:
        """Domains, share and power."""
        return WhitenedSettings(whitened=self.domains, whitened_share=self.share, whitened_power=self.power)

    def tensors(self) -> dict[str, Tensor]:
        """The matrix and the means."""
        return add_prefix("whitened.", {"matrix": self.matrix} | number_domains("mean.", self.means))

    def identity(self) -> dict[str, Tensor]:
        """What is saved, with share and power."""
        return self.tensors() | {"whitened.share": torch.tensor([self.share, self.power])}

    @property
    def domains(self) -> tuple[str, ...]:
        """Those with a mean."""
        return tuple(self.means)

    @property
    def domain_means(self) -> Mapping[str, Tensor]:
        """The means."""
        return self.means

    def domain_rows(self, rows: Tensor, features: Tensor) -> Tensor:
        """The features."""
        return features

    def of_features(self, features: Tensor, names: Sequence[str | None]) -> Tensor:
        """Features ``(N, D)`` of images of the domains ``names`` to this part's own unit rows ``(N, e)``."""
        centres = pick_means(self.means, names)
        centred = F.normalize(difference(powered(features, self.power), centres), dim=1)
        return F.normalize(centred @ self.matrix, dim=1)

    def apply(self, rows: Tensor, features: Tensor, names: Sequence[str | None]) -> Tensor:
        """Unit rows ``(N, d)`` and this part's own joined to unit rows ``(N, d + e)``; see ``join_shares``."""
        return join_shares(rows, self.of_features(features, names), self.share)

    def on_texts(self, rows: Tensor) -> Tensor:
        """Texts have no share here, which takes the same from every image's score."""
        return F.pad(rows, (0, self.matrix.shape[1]))

    def dim_after(self, dim: int) -> int:
        """Both lengths together."""
        return dim + self.matrix.shape[1]
