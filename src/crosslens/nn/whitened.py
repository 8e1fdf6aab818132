"""The part of an encoder that stays with the frozen features: centred per domain, and whitened."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from crosslens.ops.rounding import difference


@dataclass(frozen=True)
class WhitenedPart:
    """A closed-form part beside a trained head, which keeps an encoder useful for classes the head never saw.

    Attributes:
        matrix: ``(D, e)``.
        means: per domain the mean ``(D,)`` of its unit features.
        share: w in [0, 1], how much of every score is this part's.
        power: see ``powered``.
    """

    matrix: Tensor
    means: Mapping[str, Tensor]
    share: float
    power: float = 1.0

    def __call__(self, features: Tensor, names: Sequence[str | None]) -> Tensor:
        """Features ``(N, D)`` of images of the domains ``names (N,)`` to unit rows ``(N, e)``."""
        unknown = torch.stack(list(self.means.values())).mean(0)
        centres = torch.stack([self.means.get(name or "", unknown) for name in names])
        centred = F.normalize(difference(powered(features, self.power), centres), dim=1)
        return F.normalize(centred @ self.matrix, dim=1)

    def beside(self, rows: Tensor, features: Tensor, names: Sequence[str | None]) -> Tensor:
        """Unit rows ``(N, d)`` of the head and this part joined to unit rows ``(N, d + e)``.

        The cosine of two joined rows is ``(1 - w)`` times the head's and ``w`` times this part's.
        """
        return torch.cat([(1 - self.share) ** 0.5 * rows, self.share**0.5 * self(features, names)], dim=1)

    def tensors(self) -> dict[str, Tensor]:
        """What has to be saved, by name."""
        return {"matrix": self.matrix} | {f"mean.{index}": mean for index, mean in enumerate(self.means.values())}

    @classmethod
    def from_tensors(
        cls, tensors: Mapping[str, Tensor], domains: Sequence[str], share: float, power: float = 1.0
    ) -> WhitenedPart:
        """The part that ``tensors`` came from.

        Raises:
            KeyError: when something is missing.
        """
        means = {domain: tensors[f"mean.{index}"] for index, domain in enumerate(domains)}
        return cls(tensors["matrix"], means, share, power)


def powered(features: Tensor, power: float) -> Tensor:
    """``sign(x) |x|^p`` of features ``(N, D)``, unit rows: below 1 a few large entries outshine the rest less.

    Power normalisation of Fisher vectors (Perronnin et al., 2010); p = 1/2 on non-negative features is the
    Hellinger kernel.
    """
    return F.normalize(features if power == 1 else features.sign() * features.abs() ** power, dim=1)
