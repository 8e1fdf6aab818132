"""Instance contrast per domain: the floor that cluster-level methods stand on."""

from __future__ import annotations

from torch import Tensor

from crosslens.losses.instance import instance_contrast
from crosslens.methods.two_view import Embedded, TwoViewMethod


class Instance(TwoViewMethod):
    """Each image against every other image of its own domain (MoCo's InfoNCE on a full memory bank)."""

    name = "instance"

    def losses(self, epoch: int, parts: tuple[Embedded, Embedded]) -> dict[str, Tensor]:
        """The mean of both domains' L_I."""
        own = [instance_contrast(p.q, p.keys, p.bank, p.index, self.config.temperature) for p in parts]
        return {"total": (own[0] + own[1]) / 2, "instance_a": own[0], "instance_b": own[1]}
