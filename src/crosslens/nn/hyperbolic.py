"""The Poincare ball of curvature -c, c > 0: points ``z`` with ``c |z|^2 < 1``; and its Lorentz coordinates.

geoopt has the single operations; here are the few it lacks: all distances between two sets, feature clipping, the
linear layers, and the coordinates in which distances become inner products. Everything here is float32 or
float64, never half precision: near the edge of the ball the last bits matter.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Callable

_EDGE = {torch.float32: 4e-3, torch.float64: 1e-5}
"""geoopt keeps points inside the radius (1 - _EDGE) / sqrt(c)."""

# Coincident points have no direction to move apart in; below this squared distance they count as this far apart,
# which bounds the gradient of the root.
_SMALLEST = 1e-8


def exp0(v: Tensor, c: float) -> Tensor:
    """Tangent vectors at the origin ``(..., d)`` to points of the ball ``(..., d)``, inside its edge."""
    math_ = _geoopt()
    k = _negative(c, v)
    point: Tensor = math_.project(math_.expmap0(v, k=k), k=k)
    return point


def log0(z: Tensor, c: float) -> Tensor:
    """Points of the ball ``(..., d)`` to tangent vectors at the origin: the inverse of ``exp0``."""
    tangent: Tensor = _geoopt().logmap0(z, k=_negative(c, z))
    return tangent


def mobius_add(x: Tensor, y: Tensor, c: float) -> Tensor:
    """Mobius sum of points ``(..., d)``, inside the ball's edge."""
    math_ = _geoopt()
    k = _negative(c, x)
    point: Tensor = math_.project(math_.mobius_add(x, y, k=k), k=k)
    return point


def mobius_matvec(weight: Tensor, z: Tensor, c: float) -> Tensor:
    """Mobius product of a matrix ``(d', d)`` and points ``(N, d)``: ``exp0(weight log0(z))``, inside the edge."""
    math_ = _geoopt()
    k = _negative(c, z)
    point: Tensor = math_.project(math_.mobius_matvec(weight, z, k=k), k=k)
    return point


def pairwise_distance(x: Tensor, y: Tensor, c: float) -> Tensor:
    """Geodesic distances between all points of two sets, through one matrix product.

    ``d_c = 2 / sqrt(c) asinh(sqrt(c |x - y|^2 / ((1 - c |x|^2)(1 - c |y|^2))))``.

    Args:
        x: ``(B, d)`` points of the ball.
        y: ``(N, d)`` points of the ball.
        c: curvature is -c.

    Returns:
        ``(B, N)``, at least about 2e-4: closer points count as that far apart.
    """
    square_x, square_y = x.square().sum(1, keepdim=True), y.square().sum(1, keepdim=True)
    squared = (square_x + square_y.t() - 2 * x @ y.t()).clamp_min(_SMALLEST)
    ratio = c * squared / ((1 - c * square_x) * (1 - c * square_y).t())
    return 2 / math.sqrt(c) * torch.asinh(torch.sqrt(ratio))


def clip_length(v: Tensor, radius: float | None) -> Tensor:
    """Rows ``(N, d)`` longer than ``radius`` are shortened to it; None leaves all as they are."""
    if radius is None:
        return v
    return v * (radius / v.norm(dim=-1, keepdim=True).clamp_min(radius))


def largest_radius(c: float, dtype: torch.dtype = torch.float32) -> float:
    """The longest tangent vector that ``exp0`` does not flatten onto the ball's edge: 3.1 / sqrt(c) in float32."""
    return math.atanh(1 - _EDGE[dtype]) / math.sqrt(c)


def lorentz_coordinates(z: Tensor, c: float) -> Tensor:
    """Points of the ball ``(N, d)`` to the hyperboloid ``(N, d + 1)``, seen from its lowest point.

    ``s = z / (1 - c |z|^2)`` is half of the space coordinates and ``h = |z|^2 / (1 - c |z|^2)``, last, how far the
    time is above its least: ``g_s = 2 s, g_t = 1 / sqrt(c) + 2 sqrt(c) h``. With two such rows

        (cosh(sqrt(c) d_c) - 1) / (2 c) = h_q + h_g + 2 c h_q h_g - 2 <s_q, s_g>,

    which is linear in either. Unlike ``q_t g_t - <q_s, g_s>``, where small distances are the difference of two
    numbers near 1 / c, it loses nothing as c falls to 0, where it is ``|q|^2 + |g|^2 - 2 <q, g>``.
    """
    square = z.square().sum(1, keepdim=True)
    return torch.cat([z, square], dim=1) / (1 - c * square)


class MobiusLinear(nn.Module):
    """``W (x) z (+) exp0(b)``: the linear layer of HNN (Ganea et al., 2018); its bias is kept in tangent space.

    Without a bias a stack of these is ``exp0`` of an ordinary perceptron.
    """

    def __init__(self, inputs: int, outputs: int, c: float) -> None:
        super().__init__()
        self.c = c
        self.weight = nn.Parameter(torch.empty(outputs, inputs))
        self.bias = nn.Parameter(torch.zeros(outputs))
        nn.init.xavier_uniform_(self.weight)

    def forward(self, z: Tensor) -> Tensor:
        """Points ``(N, d)`` to points ``(N, d')``."""
        return mobius_add(mobius_matvec(self.weight, z, self.c), exp0(self.bias, self.c), self.c)


class PoincareLinear(nn.Module):
    """The fully connected layer of HNN++ (Shimizu et al., 2021): coordinates are signed distances to hyperplanes.

    For the hyperplane of output k with orientation ``w_k`` and offset ``r_k``, and ``l = 2 / (1 - c |z|^2)``,

        v_k = 2 |w_k| / s asinh(s l <z, w_k / |w_k|> cosh(2 s r_k) - (l - 1) sinh(2 s r_k)),   s = sqrt(c),

    then ``y = h / (1 + sqrt(1 + c |h|^2))`` with ``h_k = sinh(s v_k) / s``.
    """

    def __init__(self, inputs: int, outputs: int, c: float) -> None:
        super().__init__()
        self.c = c
        self.weight = nn.Parameter(torch.empty(outputs, inputs))
        self.bias = nn.Parameter(torch.zeros(outputs))
        nn.init.normal_(
            self.weight, std=(2 * inputs * outputs) ** -0.5 if outputs != inputs else 0.5 / inputs**0.5
        )

    def forward(self, z: Tensor) -> Tensor:
        """Points ``(N, d)`` to points ``(N, d')``, inside the edge."""
        root = math.sqrt(self.c)
        conformal = 2 / (1 - self.c * z.square().sum(1, keepdim=True))
        length = self.weight.norm(dim=1).clamp_min(1e-15)
        along = root * conformal * (z @ (self.weight / length[:, None]).t())
        turned = 2 * root * self.bias
        distance = (
            2 * length / root * torch.asinh(along * torch.cosh(turned) - (conformal - 1) * torch.sinh(turned))
        )
        # Far outside, all points are the edge; sinh must not overflow on the way there.
        flat = torch.sinh((root * distance).clamp(-30, 30)) / root
        point = flat / (1 + torch.sqrt(1 + self.c * flat.square().sum(1, keepdim=True)))
        math_ = _geoopt()
        inside: Tensor = math_.project(point, k=_negative(self.c, point))
        return inside


def in_tangent_space(function: Callable[[Tensor], Tensor], z: Tensor, c: float) -> Tensor:
    """``exp0(function(log0(z)))``: a pointwise function of points of the ball ``(N, d)``."""
    return exp0(function(log0(z, c)), c)


def _geoopt():  # type: ignore[no-untyped-def]
    # Imported when the first point comes: geoopt compiles its operations on import.
    from geoopt.manifolds.stereographic import math as stereographic

    return stereographic


def _negative(c: float, like: Tensor) -> Tensor:
    return torch.tensor(-c, dtype=like.dtype, device=like.device)
