"""Drawing some of many rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def drawn_rows(count: int, most: int, seed: int) -> NDArray[np.int64]:
    """Positions of ``most`` of ``count`` rows drawn at random, rising; all where there are no more."""
    if count <= most:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).choice(count, most, replace=False))
