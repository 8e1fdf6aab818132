"""Instance contrast per domain: the floor that cluster-level methods stand on."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from crosslens.encoder import Encoder
from crosslens.losses.instance import instance_contrast
from crosslens.methods.base import FitJob, Method
from crosslens.methods.tuned import HEAD_OR_BACKBONE
from crosslens.methods.two_view import Embedded, Objective, TwoViewConfig, fit_two_views


class _InstanceLoss(Objective):
    """Each image against every other image of its own domain (MoCo's InfoNCE on a full memory bank)."""

    def losses(self, epoch: int, parts: Sequence[Embedded]) -> dict[str, Tensor]:
        """The mean of the domains' L_I."""
        temperature = self.training.config.temperature
        own = [instance_contrast(p.q, p.keys, p.bank, p.index, temperature) for p in parts]
        named = {f"instance_{name}": loss for name, loss in zip(self.training.letters, own, strict=True)}
        return {"total": torch.stack(own).mean(), **named}


class Instance(Method[TwoViewConfig]):
    """Instance contrast on a head or on the whole network."""

    name = "instance"
    summary = "instance contrast per domain, without labels"
    Config = TwoViewConfig
    tunes = tuple(HEAD_OR_BACKBONE)

    def fit(self, job: FitJob) -> Encoder:
        """See ``fit_two_views``."""
        return fit_two_views(self, job, _InstanceLoss)
