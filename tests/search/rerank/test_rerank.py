"""Every re-ranker against its dense formula, written out with loops over N x N arrays."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crosslens.nn.similarity import Similarity
from crosslens.search.rerank.rerank import (
    NONE,
    Neighbours,
    augment,
    diffuse,
    expand_query,
    k_reciprocal,
    neighbour_graph,
    restrict,
    with_neighbours,
)


def unit(rows):
    rows = np.asarray(rows, np.float32)
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def world(seed=0, classes=5, each=12, dim=10, noise=0.35):
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(classes, dim))
    vectors = unit(np.repeat(centres, each, axis=0) + noise * rng.normal(size=(classes * each, dim)))
    query = unit(centres[0] + 2 * noise * rng.normal(size=dim))
    return query, vectors


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
    rows = with_neighbours(graph, with_neighbours(graph, with_neighbours(graph, top, 20), 20), 20)
    assert len(rows) < len(vectors)
    part = k_reciprocal(scores[rows], vectors[rows], restrict(graph, rows))
    assert np.allclose(part[:10], k_reciprocal(scores, vectors, graph)[top], atol=1e-6)


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


def test_expansion_and_augmentation_are_the_weighted_sums():
    query, vectors = world()
    scores = vectors @ query
    expected = query + sum(max(s, 0) ** 3 * v for s, v in zip(scores[:7], vectors[:7], strict=True))
    found = expand_query(query, vectors[:7], scores[:7])
    assert np.allclose(found, expected / np.linalg.norm(expected), atol=1e-6)
    assert np.allclose(expand_query(query, vectors[:0], scores[:0]), query, atol=1e-6)
    graph = neighbour_graph(vectors, 20)
    cosines = vectors @ vectors.T
    np.fill_diagonal(cosines, -np.inf)
    for item, row in enumerate(augment(vectors, graph, 4, 2.0)):
        near = np.argsort(-cosines[item], kind="stable")[:4]
        expected = vectors[item] + sum(max(cosines[item, j], 0) ** 2 * vectors[j] for j in near)
        assert np.allclose(row, expected / np.linalg.norm(expected), atol=1e-5)


def test_the_graph_is_exact_and_never_holds_the_item_itself():
    _, vectors = world()
    vectors[7] = vectors[3]
    done = []
    graph = neighbour_graph(vectors, 9, advance=done.append)
    cosines = vectors @ vectors.T
    np.fill_diagonal(cosines, -np.inf)
    assert np.allclose(graph.scores, np.sort(cosines, axis=1)[:, ::-1][:, :9], atol=1e-6)
    assert not (graph.rows == np.arange(len(vectors))[:, None]).any()
    assert graph.rows[3, 0] == 7
    assert sum(done) == len(vectors)
    few = neighbour_graph(vectors[:3], 5)
    assert (few.rows[:, 2:] == NONE).all()
    assert (neighbour_graph(vectors[:1], 5).rows == NONE).all()


def test_restricting_renumbers_and_keeps_the_scores_of_what_is_left_out():
    _, vectors = world()
    graph = neighbour_graph(vectors, 6)
    rows = np.array([5, 0, 1, 40])
    part = restrict(graph, rows)
    for place, row in enumerate(rows):
        for column in range(6):
            outside = graph.rows[row, column] not in rows
            inside = part.rows[place, column]
            assert (inside == NONE) if outside else (rows[inside] == graph.rows[row, column])
    assert np.array_equal(part.scores, graph.scores[rows])


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
