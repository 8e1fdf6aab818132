"""Which images of a domain have a row in its memory bank: all of them, or a sample where there are too many."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from crosslens.ops.sampling import drawn_rows
from crosslens.training.distributed import World


@dataclass(frozen=True)
class BankSample:
    """The images of a bank's rows, the same in all epochs.

    A fixed sample lets a row follow its image through the whole training as those of a full bank do, and a resumed
    run needs nothing but the seed to know it again. The images outside it are learned from all the same.

    Attributes:
        images: of each row, rising ``(R,)``; P processes have R / P of them each, one behind the other.
    """

    images: Tensor

    @classmethod
    def draw(cls, size: int, most: int, seed: int, world: World) -> BankSample | None:
        """At most ``most`` of ``size`` images; None where that is every image.

        Every process's range of the images (``BlockOrder``) gives equally many, so that no process embeds another
        one's images.
        """
        if size <= most:
            return None
        parts = world.size
        share = min(max(1, most // parts), size // parts)
        bounds = [size * part // parts for part in range(parts + 1)]
        drawn = [
            bounds[part] + drawn_rows(bounds[part + 1] - bounds[part], share, seed + part) for part in range(parts)
        ]
        return cls(torch.from_numpy(np.concatenate(drawn)))

    def slots(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Where images ``(B,)`` are in the bank: a row of each ``(B,)``, and whether it is its own ``(B,)``."""
        slots = torch.searchsorted(self.images, index).clamp_max(len(self.images) - 1)
        return slots, self.images[slots] == index
