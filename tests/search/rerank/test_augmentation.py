"""Augmented items against their weighted sums, written out."""

import numpy as np

from crosslens.search.rerank.augmentation import augment
from crosslens.search.rerank.graph import neighbour_graph
from search.rerank.clusters import world


def test_augmentation_is_the_weighted_sum():
    _, vectors = world()
    graph = neighbour_graph(vectors, 20)
    cosines = vectors @ vectors.T
    np.fill_diagonal(cosines, -np.inf)
    for item, row in enumerate(augment(vectors, graph, 4, 2.0)):
        near = np.argsort(-cosines[item], kind="stable")[:4]
        expected = vectors[item] + sum(max(cosines[item, j], 0) ** 2 * vectors[j] for j in near)
        assert np.allclose(row, expected / np.linalg.norm(expected), atol=1e-5)
