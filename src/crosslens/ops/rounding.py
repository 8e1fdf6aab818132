"""Telling content from rounding, wherever something small would be divided by or normalised.

Vectors here come out of networks in float32, so their last digits depend on the processor, whatever type they are
kept in. A difference of two that are the same is not 0 but a few such digits; made a unit vector, or divided by
its own deviation, it would look like any other result.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

NOISE = 16 * 2.0**-23
"""About 2e-6: what is smaller than this beside the numbers that it was computed from is rounding."""


def difference(values: Tensor, centre: Tensor, dim: int = 1) -> Tensor:
    """``values - centre``, but exactly 0 where nothing but rounding is left.

    Args:
        values: ``(N, d)``.
        centre: to take away, of a shape that fits.
        dim: what is judged as one: 1 for rows, 0 for columns.

    Returns:
        ``(N, d)``; a row (or column) whose length is at most ``NOISE`` of the two lengths it came from is 0.
    """
    found = values - centre
    lengths = values.norm(dim=dim, keepdim=True) + centre.expand_as(values).norm(dim=dim, keepdim=True)
    return found.where(found.norm(dim=dim, keepdim=True) > NOISE * lengths, 0.0)
