"""Heads: the small trainable networks behind a backbone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Head(nn.Module):
    """A multi-layer perceptron with ReLU between its layers and unit rows at its end (MoCo v2's head).

    Args:
        sizes: widths, such as ``(1280, 512, 128)``; two of them make a linear map.
        unit_inputs: scale every input row to the length sqrt(D) first. Frozen features need it, since their
            lengths differ from backbone to backbone; a head that was trained with its backbone does not.
    """

    def __init__(self, sizes: Sequence[int], *, unit_inputs: bool = True) -> None:
        super().__init__()
        self.unit_inputs = unit_inputs
        if len(sizes) < 2:
            raise ValueError(f"a head needs at least an input and an output width, not {tuple(sizes)}")
        self.sizes = tuple(sizes)
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(sizes):
            layers += [nn.Linear(inputs, outputs), nn.ReLU()]
        self.layers = nn.Sequential(*layers[:-1])

    def forward(self, features: Tensor) -> Tensor:
        """Features ``(N, D)`` to unit rows ``(N, d)``."""
        if self.unit_inputs:
            features = F.normalize(features, dim=1) * math.sqrt(self.sizes[0])
        return F.normalize(self.layers(features), dim=1)


class HeadGroup(nn.Module):
    """Several heads side by side: their unit vectors joined and scaled to unit length again.

    The cosine of two joined vectors is the mean of the members' cosines, so a group averages out what single
    trainings got wrong by chance.

    Args:
        heads: at least one, all of the same widths.
    """

    def __init__(self, heads: Sequence[Head]) -> None:
        super().__init__()
        self.sizes = heads[0].sizes
        self.unit_inputs = heads[0].unit_inputs
        self.members: Sequence[Head] = nn.ModuleList(heads)  # type: ignore[assignment]

    @property
    def dim(self) -> int:
        """Length of a joined vector."""
        return len(self.members) * self.sizes[-1]

    def forward(self, features: Tensor) -> Tensor:
        """Features ``(N, D)`` to unit rows ``(N, members x d)``."""
        return torch.cat([head(features) for head in self.members], dim=1) / math.sqrt(len(self.members))


class TunedNetwork(nn.Module):
    """What training changes: an image tower (``tune=full``) or nothing (``tune=head``), and a head behind it."""

    def __init__(self, head: nn.Module, tower: nn.Module | None = None) -> None:
        super().__init__()
        self.tower = tower
        self.head = head

    def forward(self, inputs: Tensor) -> Tensor:
        """Images ``(N, 3, H, W)`` with a tower, features ``(N, D)`` without one, to unit rows ``(N, d)``."""
        features = inputs if self.tower is None else self.tower(inputs)
        unit: Tensor = self.head(features)
        return unit
