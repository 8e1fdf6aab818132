"""Learning-rate and weight schedules, as functions of the epoch."""

from __future__ import annotations

import math


def constant(epoch: int, epochs: int) -> float:
    """1 always."""
    return 1.0


def cosine(epoch: int, epochs: int) -> float:
    """Factor ``(1 + cos(pi e / E)) / 2`` in (0, 1], set once an epoch (MoCo, UCDIR)."""
    return 0.5 * (1 + math.cos(math.pi * epoch / epochs))


SCHEDULES = {"cosine": cosine, "constant": constant}
"""Schedules of a learning rate by name."""


def linear_ramp(epoch: int, start: int, end: int) -> float:
    """0 up to ``start``, then linear to 1 at ``end`` and beyond; a step when ``end <= start``."""
    if epoch <= start:
        return 0.0
    return 1.0 if epoch >= end else (epoch - start) / (end - start)


def sigmoid_step(epoch: int, epochs: float) -> float:
    """``1 / (1 + exp(E/2 - e))``: nearly a step at half of E epochs: its slope is one epoch (UEM, eq. 10)."""
    return 1 / (1 + math.exp(0.5 * epochs - epoch))
