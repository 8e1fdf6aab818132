"""A hint, without any label, whether an encoder finds better across domains than another one.

Pictures that are neighbours within their own domain mostly show the same thing, and there no look stands between
them. So they should find the same items of another domain, and others than pictures of something else do. How
far that holds can be counted without labels: the share of hits that neighbours have in common, less the share that
pictures drawn at random have in common.

It knows nothing of what is right: an encoder that takes every dog for a horse, and all dogs alike, does well. It
is no measurement.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float32]

LEAST = 20
"""Fewest images of a domain that neighbours can be told among."""
HITS, NEIGHBOURS = 10, 5
_SURE = 2.0
"""Standard errors from which a difference counts."""


@dataclass(frozen=True)
class Agreement:
    """How far neighbours find the same, with an encoder and with what it is held against.

    Attributes:
        value, base: means over all images and the domains they ask, at most 1; 0 where neighbours find no more in
            common than any two pictures.
        error: standard error of their difference.
    """

    value: float
    base: float
    error: float

    @property
    def verdict(self) -> str:
        """``better``, ``worse`` or ``alike``."""
        difference = self.value - self.base
        if abs(difference) <= _SURE * self.error:
            return "alike"
        return "better" if difference > 0 else "worse"


def agree_without_labels(
    features: Sequence[Array], encoder: Sequence[Array], base: Sequence[Array], *, seed: int = 0
) -> Agreement:
    """Hold an encoder against another one on the images of two domains or more.

    Args:
        features: of the backbone, ``(N, D)`` a domain; they tell who are neighbours within it.
        encoder: unit vectors of the same images, ``(N, d)`` a domain.
        base: those of what it is held against; d may differ.
        seed: of the pictures drawn at random.
    """
    near = [_neighbours(part) for part in features]
    found = [_shared(vectors, near, seed) for vectors in (encoder, base)]
    difference = found[0] - found[1]
    # An image that asks several domains counts once.
    error = float(difference.std(ddof=1) / np.sqrt(len(difference) / (len(features) - 1)))
    return Agreement(float(found[0].mean()), float(found[1].mean()), error)


def _neighbours(features: Array) -> NDArray[np.int64]:
    """The nearest images of each one's own domain ``(N, NEIGHBOURS)``."""
    rows = features - features.mean(0)
    rows = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    cosines = rows @ rows.T
    np.fill_diagonal(cosines, -np.inf)
    return _best(cosines, NEIGHBOURS)


def _shared(vectors: Sequence[Array], near: Sequence[NDArray[np.int64]], seed: int) -> NDArray[np.float64]:
    """What the hits of every image in every other domain share with its neighbours' beyond chance, as one row."""
    rng = np.random.default_rng(seed)
    parts = []
    for first, second in permutations(range(len(vectors)), 2):
        asking, answering, neighbours = vectors[first], vectors[second], near[first]
        hits = np.zeros((len(asking), len(answering)), dtype=np.float32)
        np.put_along_axis(hits, _best(asking @ answering.T, HITS), 1, axis=1)
        common = hits @ hits.T / hits.sum(1, keepdims=True)
        drawn = rng.integers(1, len(asking), neighbours.shape) + np.arange(len(asking))[:, None]
        own = np.take_along_axis(common, neighbours, 1).mean(1)
        parts.append(own - np.take_along_axis(common, drawn % len(asking), 1).mean(1))
    return np.concatenate(parts).astype(np.float64)


def _best(scores: Array, count: int) -> NDArray[np.int64]:
    return np.argsort(-scores, axis=1, kind="stable")[:, :count]
