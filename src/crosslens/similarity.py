"""How an encoder's vectors are compared: always by an inner product, of unit rows with a query's form of them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from crosslens.nn.hyperbolic import lorentz_coordinates

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Similarity(BaseModel):
    """What the inner product of a query's and an item's vector means.

    ``cosine``: both are unit rows, nothing more.

    ``lorentz``: points z of the Poincare ball are stored as unit rows ``(g_t, g_s, p, m) / sqrt(2) m``: their
    Lorentz coordinates, a p that gives all rows one length, and the constant m, the longest such row. A query's
    row is multiplied by fixed numbers, so that the inner product becomes
    ``1 - 2 (cosh(sqrt(c) d) - 1) / (cosh(sqrt(c) D) - 1)`` with the geodesic distance d and the largest one
    possible D. So any index of inner products ranks exactly by distance: 1 is the same point, -1 the farthest.

    Attributes:
        kind: ``cosine`` or ``lorentz``.
        curvature: c of the ball.
        radius: the longest tangent vector a point has; its distance from the origin is twice that.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["cosine", "lorentz"] = "cosine"
    curvature: float = Field(1.0, gt=0)
    radius: float = Field(1.0, gt=0)

    def rows(self, points: Tensor) -> Tensor:
        """Points of the ball ``(N, d)`` to unit rows ``(N, d + 3)``, the form in which vectors are stored."""
        coordinates = lorentz_coordinates(points.double(), self.curvature)
        squared = self._longest_squared
        rest = (squared - coordinates.square().sum(1, keepdim=True)).clamp_min(0).sqrt()
        constant = torch.full_like(rest, math.sqrt(squared))
        rows = torch.cat([coordinates, rest, constant], dim=1) / math.sqrt(2 * squared)
        return rows.to(points.dtype)

    def as_queries(self, rows: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        """Stored unit rows ``(Q, d)`` to the form a query has; the same rows for ``cosine``."""
        if self.kind == "cosine":
            return np.asarray(rows, dtype=np.float32)
        return np.asarray(rows * self._query_factors(rows.shape[1]), dtype=np.float32)

    @property
    def _longest_squared(self) -> float:
        # |g|^2 = (2 cosh^2 - 1) / c at twice the radius.
        return (2 * math.cosh(2 * math.sqrt(self.curvature) * self.radius) ** 2 - 1) / self.curvature

    def _query_factors(self, dim: int) -> NDArray[np.float64]:
        # With s = a (<q_s, g_s> - q_t g_t) + b: a and b give 1 at distance 0 and -1 at four radii.
        c = self.curvature
        a = 2 * c / (math.cosh(4 * math.sqrt(c) * self.radius) - 1)
        b = 1 + a / c
        factors = np.full(dim, 2 * self._longest_squared * a)
        factors[0] *= -1
        factors[-2:] = 0, 2 * b
        return factors
