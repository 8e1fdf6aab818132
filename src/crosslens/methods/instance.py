"""Instance contrast per domain: the floor that cluster-level methods stand on."""

from __future__ import annotations

from torch import Tensor

from crosslens.encoder import Encoder
from crosslens.losses.instance import instance_contrast
from crosslens.methods.base import FitJob, Method
from crosslens.methods.tuned import HEAD_OR_BACKBONE
from crosslens.methods.two_view import Embedded, Objective, TwoViewConfig, fit_two_views


class InstanceLoss(Objective):
    """Each image against every other image of its own domain (MoCo's InfoNCE on a full memory bank)."""

    def losses(self, epoch: int, parts: tuple[Embedded, Embedded]) -> dict[str, Tensor]:
        """The mean of both domains' L_I."""
        temperature = self.training.config.temperature
        own = [instance_contrast(p.q, p.keys, p.bank, p.index, temperature) for p in parts]
        return {"total": (own[0] + own[1]) / 2, "instance_a": own[0], "instance_b": own[1]}


class Instance(Method[TwoViewConfig]):
    """Instance contrast on a head or on the whole network."""

    name = "instance"
    summary = "instance contrast per domain, without labels"
    Config = TwoViewConfig
    tunes = tuple(HEAD_OR_BACKBONE)

    def fit(self, job: FitJob) -> Encoder:
        """See ``fit_two_views``."""
        return fit_two_views(self, job, InstanceLoss)
