"""Learned prompts in a frozen vision transformer: each domain's images pass the backbone with its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

from torch import Tensor

from crosslens.backbones.base import Backbone
from crosslens.encoder.parts.base import Part, PartSettings
from crosslens.encoder.parts.tensors import add_prefix, take_prefix
from crosslens.nn.prompts import PromptedTower, PromptShape


class PromptsSettings(PartSettings):
    """See ``Part.Settings``.

    Attributes:
        prompts: what was appended to the transformer's tokens, or None.
    """

    prompts: PromptShape | None = None


class Prompts(Part[PromptsSettings]):
    """Changes the backbone that a domain's images are embedded with.

    Args:
        tower: with the prompts; below it lies the frozen tower of the encoder's backbone.
    """

    Settings = PromptsSettings
    changes_backbone = True

    def __init__(self, tower: PromptedTower) -> None:
        self.tower = tower.cpu().eval().requires_grad_(False)
        self._backbones: dict[str | None, Backbone] = {}

    @classmethod
    def load(cls, settings: PromptsSettings, tensors: Mapping[str, Tensor], backbone: Backbone) -> Self | None:
        """Prompts around the backbone's tower."""
        if settings.prompts is None:
            return None
        tower = PromptedTower(backbone.tower, settings.prompts)
        tower.load_learned(take_prefix("prompted.", tensors))
        return cls(tower)

    @property
    def settings(self) -> PromptsSettings:
        """How many prompts there are and where."""
        return PromptsSettings(prompts=self.tower.shape)

    def tensors(self) -> dict[str, Tensor]:
        """The prompts, and layer normalisation where it was learned."""
        return add_prefix("prompted.", self.tower.learned())

    def identity(self) -> dict[str, Tensor]:
        """What was learned."""
        return self.tower.learned()

    @property
    def domains(self) -> tuple[str, ...]:
        """Those with prompts of their own."""
        return self.tower.domains

    def backbone_for(self, backbone: Backbone, domain: str | None) -> Backbone:
        """With the domain's prompts, or with the mean of all domains' for another domain."""
        known = domain if domain in self.domains else None
        if known not in self._backbones:
            self._backbones[known] = backbone.with_tower(self.tower.for_domain(known))
        return self._backbones[known]
