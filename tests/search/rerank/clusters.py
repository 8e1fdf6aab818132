"""Vectors in clusters, and a query near the first."""

import numpy as np


def unit(rows):
    rows = np.asarray(rows, np.float32)
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def world(seed=0, classes=5, each=12, dim=10, noise=0.35):
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(classes, dim))
    vectors = unit(np.repeat(centres, each, axis=0) + noise * rng.normal(size=(classes * each, dim)))
    query = unit(centres[0] + 2 * noise * rng.normal(size=dim))
    return query, vectors
