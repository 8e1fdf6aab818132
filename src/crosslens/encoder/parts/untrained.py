"""The untrained features beside a trained head: centred per domain, with a share of every score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Self

import torch
from torch import Tensor
from torch.nn import functional as F

from crosslens.backbones.base import Backbone
from crosslens.encoder.parts.base import Part, PartSettings, Space
from crosslens.encoder.parts.tensors import add_prefix, number_domains, pick_means, read_domains, sort_domains
from crosslens.ops.rounding import difference
from crosslens.ops.whitening import join_shares


class UntrainedSettings(PartSettings):
    """See ``Part.Settings``.

    Attributes:
        untrained: its domains; empty without it.
        untrained_share: its share of every score.
        untrained_after: the length of the rows before it.
    """

    untrained: tuple[str, ...] = ()
    untrained_share: float = 0.0
    untrained_after: int = 0


class Untrained(Part[UntrainedSettings]):
    """Joins the backbone's centred features to a head's rows: what training loses is then lost by half.

    Texts are compared with these features alone, so that an encoder whose head left the space shared with text
    understands words where its backbone does.

    Args:
        backbone: whose features they are.
        means: per domain the mean ``(D,)`` of its features.
        share: w in [0, 1], how much of every score is this part's; see ``crosslens.ops.whitening.balanced_share``.
        after: d, the length of the head's rows.
    """

    Settings = UntrainedSettings
    takes_unit_rows = True
    gives_unit_rows = True

    def __init__(self, backbone: Backbone, means: Mapping[str, Tensor], share: float, after: int) -> None:
        self.backbone, self.means, self.share, self.after = backbone, sort_domains(means), share, after

    @classmethod
    def load(cls, settings: UntrainedSettings, tensors: Mapping[str, Tensor], backbone: Backbone) -> Self | None:
        """The means that are listed."""
        if not settings.untrained:
            return None
        means = read_domains("untrained.mean.", tensors, settings.untrained)
        return cls(backbone, means, settings.untrained_share, settings.untrained_after)

    @property
    def settings(self) -> UntrainedSettings:
        """Domains, share and length."""
        return UntrainedSettings(untrained=self.domains, untrained_share=self.share, untrained_after=self.after)

    def tensors(self) -> dict[str, Tensor]:
        """The means."""
        return number_domains("untrained.mean.", self.means)

    def identity(self) -> dict[str, Tensor]:
        """The means, whose they are, and the share."""
        return add_prefix("untrained.mean.", self.means) | {"untrained.share": torch.tensor([self.share])}

    @classmethod
    def card(cls, settings: UntrainedSettings) -> dict[str, str]:
        """The share, where there is one."""
        return {"share of the untrained features": f"{settings.untrained_share:.2f}"} if settings.untrained else {}

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

    def domain_rows(self, rows: Tensor, features: Tensor) -> Tensor:
        """The features."""
        return features

    def apply(self, rows: Tensor, features: Tensor, names: Sequence[str | None]) -> Tensor:
        """Unit rows ``(N, d)`` and the centred features as unit rows ``(N, d + D)``; see ``join_shares``."""
        centred = F.normalize(difference(features, pick_means(self.means, names)), dim=1)
        return join_shares(rows, centred, self.share)

    def apply_to_texts(self, rows: Tensor, texts: Tensor) -> Tensor:
        """Texts among the features, with nothing in the head's place."""
        return F.pad(self.backbone.among_features(texts), (self.after, 0))

    def dim_after(self, dim: int) -> int:
        """Both lengths together."""
        return dim + self.backbone.dim

    @classmethod
    def space_after(cls, settings: UntrainedSettings, space: Space, features: Space) -> Space:
        """Where centred features lie."""
        return Space.SHIFTED if features.has_text else Space.OWN
