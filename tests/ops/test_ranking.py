"""Exact rankings: order, ties, exclusion, memory."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crosslens.ops.ranking import (
    NO_POSITION,
    judged_chunks,
    positions,
    rank_chunks,
    relevance_of,
    relevant_counts,
    top_k_chunks,
)
from crosslens.support.errors import EvaluationError


def gather(chunks: Any) -> tuple[np.ndarray, np.ndarray]:
    parts = list(chunks)
    stops = [(part.queries.start, part.queries.stop) for part in parts]
    assert [start for start, _ in stops] == [0, *(stop for _, stop in stops[:-1])]
    return np.concatenate([part.order for part in parts]), np.concatenate([part.scores for part in parts])


def reference(queries: np.ndarray, gallery: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    scores = queries @ gallery.T
    order = np.argsort(-scores, axis=1, kind="stable")
    return order, np.take_along_axis(scores, order, axis=1)


@st.composite
def tied_features(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Small whole numbers: exact products, many ties, negative scores and both zeros."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    queries, items, width = draw(st.tuples(st.integers(1, 9), st.integers(1, 40), st.integers(1, 3)))
    spread = draw(st.integers(1, 4))
    left = rng.integers(-spread, spread + 1, (queries, width)).astype(np.float32)
    right = rng.integers(-spread, spread + 1, (items, width)).astype(np.float32)
    # A power of two keeps the products exact and, at 1/64, below the bound of the compact sort.
    return left * draw(st.sampled_from([1.0, 1 / 64])), right


@settings(max_examples=60, deadline=None)
@given(tied_features(), st.integers(1, 10), st.integers(1, 45), st.sampled_from(["float32", "float64"]))
def test_ties_go_by_gallery_index(
    features: tuple[np.ndarray, np.ndarray], chunk: int, k: int, precision: Any
) -> None:
    order, scores = reference(*features)
    for options in ({"chunk": chunk, "precision": precision}, {"precision": precision, "workers": 1}):
        ours, ours_scores = gather(rank_chunks(*features, **options))
        np.testing.assert_array_equal(ours, order)
        np.testing.assert_array_equal(ours_scores, scores)
        assert ours.dtype == np.int32
        top, top_scores = gather(top_k_chunks(*features, k, **options))
        np.testing.assert_array_equal(top, order[:, :k])
        np.testing.assert_array_equal(top_scores, scores[:, :k])


@settings(max_examples=60, deadline=None)
@given(tied_features(), st.integers(1, 45), st.booleans(), st.integers(0, 2**32 - 1))
def test_judged_ranks_are_those_of_the_exact_order(
    features: tuple[np.ndarray, np.ndarray], top: int, all_ranks: bool, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    queries, gallery = features
    left, right = rng.integers(-1, 3, len(queries)), rng.integers(-1, 3, len(gallery))
    exclude = rng.integers(-1, len(gallery), len(queries))
    order, scores = gather(rank_chunks(queries, gallery, exclude=exclude))
    expected = relevance_of(order, left, right)
    for tie_scores in {False, all_ranks}:
        options: dict[str, Any] = {"all_ranks": all_ranks, "tie_scores": tie_scores, "exclude": exclude}
        chunks = list(judged_chunks(queries, gallery, left, right, top=top, chunk=4, **options))
        relevance = np.concatenate([chunk.relevance for chunk in chunks])
        np.testing.assert_array_equal(relevance, expected if all_ranks else expected[:, :top])
        np.testing.assert_array_equal(np.concatenate([chunk.order for chunk in chunks]), order[:, :top])
        np.testing.assert_array_equal(np.concatenate([chunk.scores for chunk in chunks]), scores[:, :top])
        if tie_scores:
            np.testing.assert_array_equal(np.concatenate([chunk.tie_scores for chunk in chunks]), scores)
    if all_ranks:
        np.testing.assert_array_equal(relevant_counts(left, right, exclude), expected.sum(axis=1))


@pytest.mark.parametrize("compact", [True, False])
def test_real_features_with_duplicates(compact: bool) -> None:
    rng = np.random.default_rng(0)
    queries, gallery = rng.normal(size=(150, 37)).astype(np.float32), rng.normal(size=(333, 37)).astype(np.float32)
    gallery[200:260] = gallery[:60]
    if compact:
        queries /= np.linalg.norm(queries, axis=1, keepdims=True)
        gallery /= np.linalg.norm(gallery, axis=1, keepdims=True)
    order, scores = gather(rank_chunks(queries, gallery))
    np.testing.assert_allclose(scores, reference(queries, gallery)[1], atol=1e-4)
    assert (scores[:, :-1] >= scores[:, 1:]).all()
    assert (np.sort(order, axis=1) == np.arange(333)).all()
    # The copy of an item follows it at once, with the same score.
    place = np.argsort(order, axis=1)
    np.testing.assert_array_equal(place[:, 200:260], place[:, :60] + 1)
    labels, codes = rng.integers(0, 5, 150), rng.integers(0, 5, 333)
    for chunk in (7, 64, 150):
        np.testing.assert_array_equal(gather(rank_chunks(queries, gallery, chunk=chunk))[1], scores)
        for k in (1, 50, 333):
            top, top_scores = gather(top_k_chunks(queries, gallery, k, chunk=chunk))
            np.testing.assert_array_equal(top, order[:, :k])
            np.testing.assert_array_equal(top_scores, scores[:, :k])
        judged = judged_chunks(queries, gallery, labels, codes, top=9, chunk=chunk)
        relevance = np.concatenate([part.relevance for part in judged])
        np.testing.assert_array_equal(relevance, relevance_of(order, labels, codes))


def test_excluded_item_stands_last_as_no_item() -> None:
    gallery = np.eye(4, dtype=np.float32)
    order, scores = gather(rank_chunks(gallery, gallery, exclude=[0, -1, 2, -1]))
    np.testing.assert_array_equal(order[0], [1, 2, 3, -1])
    np.testing.assert_array_equal(order[1], [1, 0, 2, 3])
    assert scores[0, 3] == -np.inf
    assert gather(top_k_chunks(gallery, gallery, 3, exclude=[0, 1, 2, 3]))[0].min() >= 0


def test_unlabelled_items_are_relevant_to_nothing() -> None:
    order = np.array([[0, 1, -1], [0, 1, 2]])
    labels, codes = np.array([1, -1]), np.array([1, -1, -1])
    np.testing.assert_array_equal(relevance_of(order, labels, codes), [[True, False, False], [False] * 3])
    np.testing.assert_array_equal(relevant_counts(labels, codes), [1, 0])
    np.testing.assert_array_equal(relevant_counts(labels, codes, np.array([0, -1])), [0, 0])


def test_positions() -> None:
    mask = np.array([[0, 1, 1], [0, 0, 0], [1, 0, 0]], dtype=bool)
    np.testing.assert_array_equal(positions(mask), [[1, 2], [NO_POSITION] * 2, [0, NO_POSITION]])
    assert positions(np.zeros((2, 3), bool)).shape == (2, 1)
    assert positions(np.zeros((0, 3), bool)).shape == (0, 1)


def test_peak_memory_does_not_depend_on_the_number_of_queries() -> None:
    rng = np.random.default_rng(0)
    gallery, budget = rng.normal(size=(4000, 8)).astype(np.float32), 16 * 2**20
    codes = rng.integers(0, 7, 4000)

    def peak(count: int, judge: bool) -> int:
        queries, labels = rng.normal(size=(count, 8)).astype(np.float32), rng.integers(0, 7, count)
        options: dict[str, Any] = {"memory_budget": budget, "workers": 2}
        tracemalloc.start()
        try:
            if judge:
                for _ in judged_chunks(queries / 9, gallery / 9, labels, codes, top=50, **options):
                    pass
            else:
                for _ in rank_chunks(queries, gallery, **options):
                    pass
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    for judge in (False, True):
        # The scores of all these queries would take nine times the budget.
        assert peak(9900, judge) < budget


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"queries": np.ones(3)}, r"queries must be a \(N, D\) matrix"),
        ({"queries": np.ones((2, 5))}, "5 dimensions and the gallery 3"),
        ({"gallery": np.ones((0, 3))}, "gallery is empty"),
        ({"gallery": np.array([["a"]])}, "matrix of numbers"),
        ({"gallery": np.array([[0, 1, 2], [np.nan] * 3, [1, np.inf, 0]])}, "2 of 3 rows of gallery.*index 1"),
        ({"queries": np.full((2, 3), 1e30), "gallery": np.full((4, 3), 1e30)}, "overflow float32"),
        ({"exclude": [0]}, "exclude must be 2 integers"),
        ({"exclude": [0, 4]}, "outside the gallery"),
        ({"chunk": 0}, "at least 1"),
        ({"precision": "float16"}, "float32 or float64"),
    ],
)
def test_bad_input_is_explained(change: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {"queries": np.ones((2, 3)), "gallery": np.ones((4, 3))} | change
    with pytest.raises(EvaluationError, match=message):
        rank_chunks(**arguments)


def test_bad_depth_and_labels_are_explained() -> None:
    ones = np.ones((2, 3))
    with pytest.raises(EvaluationError, match="k must be at least 1"):
        top_k_chunks(ones, ones, 0)
    with pytest.raises(EvaluationError, match="top must be at least 1"):
        judged_chunks(ones, ones, [0, 1], [0, 1], top=0)
    with pytest.raises(EvaluationError, match="gallery_labels must be 2 integers"):
        judged_chunks(ones, ones, [0, 1], ["a", "b"], top=1)


def test_an_abandoned_iterator_stops_its_threads() -> None:
    ones = np.ones((50, 3))
    chunks = rank_chunks(ones, ones, chunk=1)
    next(chunks)
    chunks.close()
    assert list(chunks) == []
