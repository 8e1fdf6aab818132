"""Gradient reversal and the domain classifier behind it (DANN; UEM, eq. 13)."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn


def reverse_gradient(x: Tensor, strength: float = 1.0) -> Tensor:
    """``x`` unchanged; its gradient comes back multiplied by ``-strength``.

    Args:
        x: any shape.
        strength: lambda >= 0; 0 cuts the gradient off.
    """
    reversed_: Tensor = _Reverse.apply(x, strength)
    return reversed_


def reversal_strength(progress: float, slope: float | None = 10.0) -> float:
    """``2 / (1 + exp(-s p)) - 1``: from 0 at p = 0 to nearly 1 at p = 1 (DANN's ramp; UEM leaves it open).

    Args:
        progress: p, share of the stage's steps that are done, in [0, 1].
        slope: s > 0, 10 in DANN; None has no ramp: 1 all the time.
    """
    return 1.0 if slope is None else 2 / (1 + math.exp(-slope * progress)) - 1


class DomainClassifier(nn.Module):
    """Two linear layers with ReLU that say which domain a feature is from.

    No batch normalisation: over a batch of all domains it would blur what is to be told apart.

    Args:
        dim: d, length of a feature.
        hidden: width between the layers.
        domains: how many there are; two need one logit.
    """

    def __init__(self, dim: int, hidden: int = 256, domains: int = 2) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(dim, hidden), nn.ReLU(), nn.Linear(hidden, 1 if domains == 2 else domains)
        )

    def forward(self, z: Tensor) -> Tensor:
        """Features ``(N, d)`` to logits ``(N,)`` of "the first domain", or ``(N, domains)`` of more than two."""
        logits: Tensor = self.layers(z)
        return logits.squeeze(1) if logits.shape[1] == 1 else logits


class _Reverse(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, strength: float) -> Tensor:
        ctx.strength = strength
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return -ctx.strength * gradients[0], None
