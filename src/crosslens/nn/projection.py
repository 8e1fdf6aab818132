"""TKI's universal projection: a perceptron behind the joint space of images and texts, in the ball or flat."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn import functional as F

from crosslens.nn.hyperbolic import (
    MobiusLinear,
    PoincareLinear,
    clip_length,
    exp0,
    in_tangent_space,
    log0,
    mobius_add,
    pairwise_distance,
)
from crosslens.nn.similarity import WIDEST, Similarity

Geometry = Literal["mobius", "hnnpp", "euclid_exp", "euclid"]


class ProjectionSettings(BaseModel):
    """What a projection is made of, but for its widths."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    geometry: Geometry = "mobius"
    """``mobius`` has HNN's layers, ``hnnpp`` those of HNN++, ``euclid_exp`` is an ordinary perceptron whose output
    is put into the ball, ``euclid`` one with unit rows and no ball at all."""
    curvature: float = Field(0.1, gt=0)
    """c; the ball has curvature -c."""
    scale: float = Field(1.0, gt=0)
    """sigma, the length given to every input."""
    radius_in: float | None = Field(2.3, gt=0)
    """r, tangent vectors that enter the ball are shortened to it."""
    radius_out: float | None = Field(1.0, gt=0)
    """r_out, likewise for those that leave it. None, and what is larger, only keeps them within 2 / sqrt(c), up to
    which float32 ranks by distance."""
    slope: float = Field(0.1, ge=0, le=1)
    """Of LeakyReLU between the layers; 0 is ReLU, 1 none."""
    start: Literal["residual", "identity", "random"] = "residual"
    """``residual`` adds the perceptron to its input and begins with next to nothing added, so that what the space
    knew before training is kept as far as the texts do not speak against it; ``identity`` begins with layers that
    change nothing but what ``slope`` bends; ``random`` is Xavier's."""
    ranking: Literal["distance", "cosine"] = "distance"
    """``distance`` ranks by geodesic distance; ``cosine`` by the angle of the tangent vectors at 0."""


class ProjectionShape(ProjectionSettings):
    """A projection's settings and widths.

    Attributes:
        sizes: widths D, ..., d.
        reach: a bound of the output found in training, below ``radius_out``; None before.
    """

    sizes: tuple[int, ...]
    reach: float | None = Field(None, gt=0)

    @property
    def widest(self) -> float:
        """The longest tangent vector any output can have, whatever ``radius_out``."""
        return WIDEST / math.sqrt(self.curvature)

    @property
    def largest_output(self) -> float:
        """The longest tangent vector an output has here: the least of ``radius_out``, ``reach`` and ``widest``."""
        return min(bound for bound in (self.radius_out, self.reach, self.widest) if bound is not None)

    @property
    def similarity(self) -> Similarity:
        """How projected vectors are compared."""
        if self.geometry == "euclid" or self.ranking == "cosine":
            return Similarity()
        return Similarity(kind="lorentz", curvature=self.curvature, radius=self.largest_output)


class Projection(nn.Module):
    """Phi: vectors of the joint space ``(N, D)`` to points of the ball ``(N, d)``, or to unit rows (``euclid``).

    ``Phi(x) = exp0(clip(log0(f(exp0(clip(sigma x / |x|))))))`` (A1); with ``start="residual"``, ``z (+) f(z)``
    takes the place of ``f(z)``. The output radius is bounded, because a loss on distances is otherwise lowered by
    moving everything outwards.

    Args:
        shape: what it is made of.
    """

    def __init__(self, shape: ProjectionShape) -> None:
        super().__init__()
        if len(shape.sizes) < 2:
            raise ValueError(f"a projection needs at least an input and an output width, not {shape.sizes}")
        self.shape = shape
        c = shape.curvature
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(shape.sizes):
            if shape.geometry == "mobius":
                layers.append(MobiusLinear(inputs, outputs, c))
            elif shape.geometry == "hnnpp":
                layers.append(PoincareLinear(inputs, outputs, c))
            else:
                layers.append(nn.Linear(inputs, outputs))
                nn.init.xavier_uniform_(layers[-1].weight)  # type: ignore[arg-type]
                nn.init.zeros_(layers[-1].bias)  # type: ignore[arg-type]
        self.layers = nn.ModuleList(layers)
        if shape.start != "random":
            self._begin_as_identity()
        self.shortcut: nn.Parameter | None = None
        if shape.start == "residual":
            nn.init.normal_(self.layers[-1].weight, std=1e-3)  # type: ignore[arg-type]
            if shape.sizes[0] != shape.sizes[-1]:
                self.shortcut = nn.Parameter(torch.empty(shape.sizes[-1], shape.sizes[0]))
                nn.init.orthogonal_(self.shortcut)

    @property
    def dim(self) -> int:
        """Numbers in an encoded vector."""
        return self.shape.sizes[-1] + (3 if self.shape.similarity.kind == "lorentz" else 0)

    def forward(self, x: Tensor) -> Tensor:
        """Vectors ``(N, D)``, of any length, to points of the ball ``(N, d)``, or to unit rows."""
        shape = self.shape
        v = clip_length(F.normalize(x, dim=1) * shape.scale, shape.radius_in)
        past = v if self.shortcut is None else v @ self.shortcut.t()
        if shape.geometry in ("euclid", "euclid_exp"):
            for number, layer in enumerate(self.layers):
                v = layer(v if number == 0 else self._bend(v))
            if shape.start == "residual":
                v = past + v
            if shape.geometry == "euclid":
                return F.normalize(v, dim=1)
            return exp0(clip_length(v, shape.largest_output), shape.curvature)
        z = exp0(v, shape.curvature)
        for number, layer in enumerate(self.layers):
            z = layer(z if number == 0 else in_tangent_space(self._bend, z, shape.curvature))
        if shape.start == "residual":
            z = mobius_add(exp0(past, shape.curvature), z, shape.curvature)
        return exp0(clip_length(log0(z, shape.curvature), shape.largest_output), shape.curvature)

    def bound(self, farthest: float) -> None:
        """Shorten outputs from now on to twice the ``farthest`` tangent vector that training saw.

        Scores are shares of the largest distance there can be, so a bound far beyond all points would leave them
        few of float32's digits. ``euclid`` has no such bound.
        """
        if self.shape.geometry != "euclid" and 2 * farthest < self.shape.largest_output:
            self.shape = self.shape.model_copy(update={"reach": 2 * farthest})

    def distance(self, a: Tensor, b: Tensor) -> Tensor:
        """Distances ``(B, N)`` between outputs ``(B, d)`` and ``(N, d)``: geodesic, or squared Euclidean."""
        if self.shape.geometry == "euclid":
            return 2 - 2 * a @ b.t()
        return pairwise_distance(a, b, self.shape.curvature)

    def tangent(self, z: Tensor) -> Tensor:
        """Outputs ``(N, d)`` as tangent vectors at the origin; unit rows are their own."""
        return z if self.shape.geometry == "euclid" else log0(z, self.shape.curvature)

    def encode(self, x: Tensor) -> Tensor:
        """Vectors ``(N, D)`` to the unit rows ``(N, dim)`` that are stored and searched; see ``Similarity``."""
        z = self(x)
        similarity = self.shape.similarity
        return similarity.rows(z) if similarity.kind == "lorentz" else F.normalize(self.tangent(z), dim=1)

    def bias_length(self) -> float:
        """Mean length of the layers' biases: without them a Mobius perceptron is ``exp0`` of an ordinary one."""
        with torch.no_grad():
            biases = [bias for name, bias in self.named_parameters() if name.endswith("bias")]
            return float(torch.stack([bias.norm() for bias in biases]).mean())

    @torch.no_grad()
    def _begin_as_identity(self) -> None:
        for name, weight in self.named_parameters():
            if name.endswith("weight"):
                # Where widths differ, an orthogonal map keeps as much as can be kept.
                nn.init.eye_(weight) if len(set(weight.shape)) == 1 else nn.init.orthogonal_(weight)
                # The layer of HNN++ doubles small points.
                weight.mul_(0.5 if self.shape.geometry == "hnnpp" else 1)

    def _bend(self, v: Tensor) -> Tensor:
        return v if self.shape.slope == 1 else F.leaky_relu(v, self.shape.slope)
