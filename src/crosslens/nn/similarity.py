"""How an encoder's vectors are compared: always by an inner product, of unit rows with a query's form of them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor


ROWS = 2
"""Version of the form that points of the ball are stored in; it is part of an encoder's fingerprint."""
WIDEST = 2.0
"""The largest ``sqrt(c) radius`` whose scores, in float32, still rank as distances do: points a tenth as far out
as others keep distances apart that differ by 1e-4 / sqrt(c). At the ball's edge, 3.1, it would be 4e-3."""
_ROUNDING = 1e-6
"""What float32 may take from a score: a unit row with itself gives 0.9999999 as often as 1."""


def reaches(scores: Any, threshold: float) -> Any:
    """Whether scores, one or an array of them, are at least ``threshold``, up to rounding."""
    return scores >= threshold - _ROUNDING


class Similarity(BaseModel):
    """What the inner product of a query's and an item's vector means.

    ``cosine``: both are unit rows, nothing more.

    ``lorentz``: points z of the Poincare ball are stored as unit rows ``(s / r, h / H, 1, p) / sqrt(3)``: their
    ``lorentz_coordinates`` s and h as shares of the largest ones r and H, a constant, and a p that gives all rows
    one length. A query's row is mapped linearly, so that the inner product becomes
    ``1 - 2 (cosh(sqrt(c) d) - 1) / (cosh(sqrt(c) D) - 1)`` with the geodesic distance d and the largest one
    possible D. So any index of inner products ranks exactly by distance: 1 is the same point, -1 the farthest.

    Attributes:
        kind: ``cosine`` or ``lorentz``.
        curvature: c of the ball.
        radius: the longest tangent vector a point has; its distance from the origin is twice that. The nearer it
            is to the longest there really is, the more of float32's digits a score has; see ``WIDEST``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["cosine", "lorentz"] = "cosine"
    curvature: float = Field(1.0, gt=0)
    radius: float = Field(1.0, gt=0)

    def rows(self, points: Tensor) -> Tensor:
        """Points of the ball ``(N, d)`` to unit rows ``(N, d + 3)``, the form in which vectors are stored."""
        import torch

        # Here, so that those who only compare stored rows need no PyTorch.
        from crosslens.nn.hyperbolic import lorentz_coordinates

        coordinates = lorentz_coordinates(points.double(), self.curvature)
        root = math.sqrt(self.curvature)
        longest, highest = math.sinh(2 * self._reach) / (2 * root), (math.sinh(self._reach) / root) ** 2
        shares = torch.cat([coordinates[:, :-1] / longest, coordinates[:, -1:] / highest], dim=1)
        rest = (2 - shares.square().sum(1, keepdim=True)).clamp_min(0).sqrt()
        rows = torch.cat([shares, torch.ones_like(rest), rest], dim=1) / math.sqrt(3)
        return rows.to(points.dtype)

    def as_queries(self, rows: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        """Stored unit rows ``(Q, d)`` to the form a query has; the same rows for ``cosine``."""
        if self.kind == "cosine":
            return np.asarray(rows, dtype=np.float32)
        asked = 3 * np.asarray(rows, dtype=np.float64)
        height, constant = asked[:, -3].copy(), asked[:, -2].copy()
        # The largest distance's (cosh - 1) / 2c is 4 r^2, and H / (2 r^2) = 1 / (2 cosh^2), c H^2 / r^2 = tanh^2.
        half = 0.5 / math.cosh(self._reach) ** 2
        asked[:, -3] = -half * constant - math.tanh(self._reach) ** 2 * height
        asked[:, -2] = constant - half * height
        asked[:, -1] = 0
        return np.asarray(asked, dtype=np.float32)

    def mixed(self, total: NDArray[np.float64], most: float) -> NDArray[np.float32]:
        """A weighted sum of stored rows ``(d,)`` as one unit row to ask with.

        The cosine takes its direction. ``lorentz`` divides it by ``most``, the sum of the weights' sizes, so that
        its score is the weighted mean of the scores and stays in [-1, 1]; its length is then made up in the last
        number, which no query looks at.
        """
        if self.kind == "cosine":
            return np.asarray(total / np.linalg.norm(total), np.float32)
        row = total / most
        row[-1] = math.sqrt(max(0.0, 1 - float(row[:-1] @ row[:-1])))
        return np.asarray(row, np.float32)

    @property
    def _reach(self) -> float:
        return math.sqrt(self.curvature) * self.radius
