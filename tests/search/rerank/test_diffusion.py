"""Diffusion against its dense system, and where it leads."""

import numpy as np
import pytest

from crosslens.search.rerank.diffusion import diffuse
from crosslens.search.rerank.graph import Neighbours, neighbour_graph
from search.rerank.clusters import unit, world


def dense_diffusion(query, vectors, k, query_neighbours, alpha, gamma):
    cosines = (vectors @ vectors.T).astype(np.float64)
    np.fill_diagonal(cosines, -np.inf)
    order = np.argsort(-cosines, axis=1, kind="stable")[:, :k]
    count = len(vectors)
    affinity = np.zeros((count, count))
    for i in range(count):
        for j in order[i]:
            if i in order[j]:
                affinity[i, j] = max(cosines[i, j], 0) ** gamma
    degrees = affinity.sum(1)
    degrees[degrees == 0] = 1
    normalised = affinity / np.sqrt(degrees[:, None] * degrees[None])
    scores = vectors @ query
    start = np.zeros(count)
    first = np.argsort(-scores, kind="stable")[:query_neighbours]
    start[first] = np.maximum(scores[first], 0) ** gamma
    return np.linalg.solve(np.eye(count) - alpha * normalised, start)


@pytest.mark.parametrize("seed", range(4))
def test_diffusion_solves_the_dense_system(seed):
    query, vectors = world(seed)
    found = diffuse(vectors @ query, neighbour_graph(vectors, 20), k=8, iterations=200, tolerance=1e-10)
    assert np.allclose(found, dense_diffusion(query, vectors, 8, 10, 0.99, 3), rtol=1e-4, atol=1e-6)


def test_diffusion_reaches_what_the_query_does_not():
    """Along a bent arc the far end is nearer, on foot, than a cluster beside the query."""
    angles = np.linspace(0, np.pi * 0.9, 40)
    arc = np.stack([np.cos(angles), np.sin(angles), np.zeros(40)], 1)
    aside = unit(np.array([0.6, 0.0, 0.8]) + 0.02 * np.random.default_rng(0).normal(size=(10, 3)))
    vectors = unit(np.vstack([arc, aside]))
    scores = vectors @ vectors[0]
    assert scores[30] < scores[45]
    found = diffuse(scores, neighbour_graph(vectors, 6), k=6, query_neighbours=3, iterations=200)
    assert found[:40].min() > found[40:].max()


def test_affinities_of_rounding_alone_carry_nothing():
    """Items at right angles: a processor leaves 1e-9 or -1e-9 between them, and degrees divide by it."""
    near = np.array([[1, 2], [0, 2], [0, 1]])
    scores = np.array([0.5, 0.0, 0.0], np.float32)
    told = [
        diffuse(scores, Neighbours(near, np.full((3, 2), noise, np.float32))) for noise in (0.0, 1e-9, -1e-9, 1e-7)
    ]
    assert all(np.allclose(found, [0.125, 0, 0]) for found in told)


def test_a_query_that_nothing_is_like_diffuses_nothing():
    _, vectors = world()
    assert not diffuse(-np.ones(len(vectors), np.float32), neighbour_graph(vectors, 5)).any()
