"""k-reciprocal encoding against its dense formula, written out with sets."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from crosslens.nn.similarity import Similarity
from crosslens.search.rerank.graph import add_neighbours, neighbour_graph, restrict
from crosslens.search.rerank.k_reciprocal import k_reciprocal
from search.rerank.clusters import world


def dense_k_reciprocal(query, vectors, k1, k2, share):
    """Zhong et al., algorithm by sets, on gallery and query together."""
    everything = np.vstack([vectors, query]).astype(np.float64)
    count = len(everything)
    cosines = everything @ everything.T
    np.fill_diagonal(cosines, 2)
    order = np.argsort(-cosines, axis=1, kind="stable")
    np.fill_diagonal(cosines, 1)

    def reciprocal(item, k):
        return {j for j in order[item, : k + 1] if item in order[j, : k + 1]}

    described = np.zeros((count, count))
    for item in range(count):
        grown = set(reciprocal(item, k1))
        for other in reciprocal(item, k1):
            candidates = reciprocal(other, max(1, round(k1 / 2)))
            if len(candidates & reciprocal(item, k1)) > 2 / 3 * len(candidates):
                grown |= candidates
        for j in grown:
            described[item, j] = np.exp(cosines[item, j] - 1)
        described[item] /= described[item].sum()
    if k2 > 1:
        described = np.stack([described[order[item, :k2]].mean(0) for item in range(count)])
    least = np.minimum(described[-1], described[:-1]).sum(1)
    most = np.maximum(described[-1], described[:-1]).sum(1)
    return (1 - share) * (1 - least / most) + share * (1 - cosines[-1, :-1])


@settings(max_examples=12)
@given(st.integers(0, 10_000), st.sampled_from([(20, 6), (8, 3), (5, 1)]), st.sampled_from([0.0, 0.3]))
def test_k_reciprocal_is_the_dense_formula(seed, sizes, share):
    query, vectors = world(seed)
    graph = neighbour_graph(vectors, 20)
    found = k_reciprocal(vectors @ query, vectors, graph, k1=sizes[0], k2=sizes[1], share=share)
    assert np.allclose(found, dense_k_reciprocal(query, vectors, *sizes, share), atol=1e-5)


def test_k_reciprocal_of_a_gallery_smaller_than_k1():
    query, vectors = world(classes=2, each=3)
    found = k_reciprocal(vectors @ query, vectors, neighbour_graph(vectors, 20))
    assert np.allclose(found, dense_k_reciprocal(query, vectors, 20, 6, 0.3), atol=1e-5)


def test_k_reciprocal_on_a_part_is_that_of_the_whole_for_what_the_part_holds():
    query, vectors = world(classes=12, each=15, noise=0.2)
    graph = neighbour_graph(vectors, 20)
    scores = vectors @ query
    top = np.argsort(-scores, kind="stable")[:10]
    rows = add_neighbours(graph, add_neighbours(graph, add_neighbours(graph, top, 20), 20), 20)
    assert len(rows) < len(vectors)
    part = k_reciprocal(scores[rows], vectors[rows], restrict(graph, rows))
    assert np.allclose(part[:10], k_reciprocal(scores, vectors, graph)[top], atol=1e-6)


def test_a_hyperbolic_graph_follows_its_similarity():
    import torch

    similarity = Similarity(kind="lorentz", curvature=0.5, radius=2.0)
    points = torch.tensor(np.random.default_rng(0).normal(size=(30, 4)) / 8)
    rows = similarity.rows(points).numpy().astype(np.float32)
    scores = similarity.as_queries(rows) @ rows.T
    np.fill_diagonal(scores, -np.inf)
    graph = neighbour_graph(rows, 4, similarity)
    assert np.allclose(graph.scores, np.sort(scores, axis=1)[:, ::-1][:, :4], atol=1e-5)
    found = k_reciprocal(scores[0], rows, graph, similarity, k1=4, k2=2)
    assert np.isfinite(found[1:]).all()
