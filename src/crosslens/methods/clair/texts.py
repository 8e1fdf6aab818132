"""Learnable text contexts in CoOp's form: word vectors before every class name, one set a domain."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from crosslens.backbones.base import Backbone
from crosslens.backbones.prompts import HOLE, word_prompts
from crosslens.labels.wording import class_texts, clean_name, templates_of
from crosslens.methods.base import MethodConfig


class TextContextConfig(MethodConfig):
    """Settings of learnable text contexts."""

    text_tokens: int = Field(0, ge=0)
    """Word vectors before every class name, learned for each domain (4 to 16); 0 for none. They start from the
    domain's first template, and the class texts they give are what the text map is fitted on."""
    text_temperature: float = Field(0.2, gt=0)
    """T of the contrast of images with the class texts."""
    text_lr: float = Field(2e-3, gt=0)
    """Learning rate of the vectors."""


class TextContexts(nn.Module):
    """Contexts of several domains, with the class texts they make; the text tower stays as it is.

    Args:
        backbone: ``lite`` or a CLIP.
        names: C class names.
        looks: of every domain; the first template's last words are where its context starts.
        tokens: n, vectors a domain. Those for which the template has no word start at random.
        seed: of these.
        device: where to compute.

    Raises:
        BackboneError: for another text tower.
        ConfigError: for a name that does not fit into the tower's context.
    """

    def __init__(
        self,
        backbone: Backbone,
        names: Sequence[str],
        looks: Sequence[str],
        tokens: int,
        seed: int,
        device: torch.device,
    ) -> None:
        super().__init__()
        holes = " ".join([HOLE] * tokens)
        spoken = [" ".join(p.lower() if p == HOLE else p for p in clean_name(name).split()) for name in names]
        self._prompts = word_prompts(backbone, [f"{holes} {name}." for name in spoken], device, tokens)
        self._every = torch.arange(len(names))
        generator = torch.Generator().manual_seed(seed)
        starts = []
        for look in looks:
            words = [*templates_of(look)[0].partition("{")[0].split(), "a"][-tokens:]
            known = torch.stack([self._prompts.word_vector(word).cpu() for word in words])
            drawn = torch.randn(tokens - len(known), known.shape[1], generator=generator) * known.std()
            starts.append(torch.cat([drawn, known]))
        self.vectors = nn.Parameter(torch.stack(starts).to(device))
        self._written = [class_texts(backbone, names, look).to(device) for look in looks]

    def forward(self) -> Tensor:
        """Class texts ``(domains, C, J)``, unit rows; gradients reach the contexts alone."""
        return self._prompts.embed(self.vectors, self._every)

    def written_texts(self, domain: int) -> Tensor:
        """Class texts ``(C, J)`` of a domain's written templates."""
        return self._written[domain]


def mean_texts(domains: Sequence[str], learned: Sequence[Tensor | None]) -> dict[str, Tensor] | None:
    """Learned class texts ``(C, J)`` by domain, the mean over the trainings; None where none were learned.

    Args:
        domains: in order.
        learned: of every training ``(domains, C, J)``, or None.
    """
    texts = [found for found in learned if found is not None]
    if not texts:
        return None
    return dict(zip(domains, F.normalize(torch.stack(texts).mean(0), dim=2), strict=True))
