"""The number of lists is measured, and what was measured holds for other queries."""

import numpy as np
import pytest

from crosslens.nn.similarity import Similarity
from crosslens.search.stores.inverted_lists import Allowed, InvertedLists
from crosslens.search.stores.probes import choose_probes, held_queries
from crosslens.search.stores.scoring import exact_top, rescored
from testing.stores import unit


def clustered(count, dim=16, seed=0):
    centres = unit(40, dim, 1)
    rng = np.random.default_rng(seed)
    rows = centres[rng.integers(0, 40, count)] + 0.25 * rng.standard_normal((count, dim))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def world():
    vectors = clustered(6000)
    return vectors, InvertedLists.make(vectors, 60)


def test_rows_lie_in_the_list_of_their_nearest_centre(world):
    vectors, lists = world
    centres = lists.index.quantizer.reconstruct_n(0, 60)
    assert (lists.list_of == np.argmax(vectors @ centres.T, axis=1)).mean() > 0.999


@pytest.mark.parametrize("share", [1.0, 0.3, 0.1])
def test_other_queries_reach_the_recall(world, share):
    vectors, lists = world
    probes = {p.share: p.lists for p in choose_probes(lists, vectors, Similarity(), 0.95, 4, 0)}
    assert sorted(probes.values()) == [probes[key] for key in sorted(probes, reverse=True)]
    allowed = None
    if share < 1:
        rows = np.sort(np.random.default_rng(9).choice(6000, int(6000 * share), replace=False))
        allowed = Allowed(rows, 6000)
    queries = clustered(300, seed=5)
    truth = exact_top(queries, vectors, 10, None if allowed is None else allowed.positions)
    found = lists.candidates(queries, 40, probes[share], allowed)
    shares = []
    for query, rows, (best, _) in zip(queries, found, truth, strict=True):
        near = rows[rows >= 0]
        ten = near[np.argsort(-rescored(query, vectors[near]), kind="stable")[:10]]
        shares.append(len(set(ten.tolist()) & set(best.tolist())) / 10)
    assert np.mean(shares) > 0.92
    if allowed is not None:
        assert set(found[found >= 0].tolist()) <= set(allowed.positions.tolist())


@pytest.mark.parametrize(("exact_rows", "shares"), [(90, [1.0, 0.3, 0.1, 0.03, 0.015]), (1800, [1.0, 0.3])])
def test_every_filter_that_uses_lists_has_a_share_measured_below_it(world, exact_rows, shares):
    vectors, lists = world
    assert [p.share for p in choose_probes(lists, vectors, Similarity(), 0.9, 2, exact_rows)] == shares


def test_lists_without_an_allowed_row_are_passed_over(world):
    vectors, lists = world
    only = np.flatnonzero(lists.list_of == lists.list_of[0])
    farthest = -vectors[:1]
    found = lists.candidates(np.ascontiguousarray(farthest), 5, 1, Allowed(only, 6000))
    assert set(found[0].tolist()) <= set(only.tolist())
    assert (found >= 0).all()
    nobody = lists.candidates(np.ascontiguousarray(farthest), 5, 1, Allowed(only[:0], 6000))
    assert (nobody == -1).all()


def test_held_queries_lie_where_they_should():
    vectors = clustered(500)
    items, away = held_queries(vectors, Similarity(), 50)
    assert np.array_equal(items.vectors, vectors[items.left_out])
    assert np.allclose(np.einsum("nd,nd->n", away.vectors, items.vectors), 0.7, atol=1e-5)
    assert np.allclose(np.linalg.norm(away.vectors, axis=1), 1, atol=1e-5)
