"""Exact answers are the slow formula's, to the last tie, whatever the shape of the work."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crosslens.search.stores import scoring
from crosslens.search.stores.scoring import exact_top


def slow(query, matrix, k, rows):
    scores = (matrix.astype(np.float64) @ query.astype(np.float64)).astype(np.float32)
    return sorted(rows, key=lambda row: (-scores[row], row))[:k]


@given(
    seed=st.integers(0, 999),
    count=st.integers(0, 300),
    asked=st.integers(1, 4),
    k=st.integers(1, 40),
    share=st.sampled_from([None, 0.0, 0.1, 0.6, 1.0]),
    distinct=st.sampled_from([3, 50, 10**6]),
)
def test_exact_top_is_the_slow_formula(seed, count, asked, k, share, distinct):
    rng = np.random.default_rng(seed)
    # Small whole numbers have exact products, and few distinct rows make ties.
    pool = rng.integers(-3, 4, size=(min(distinct, max(count, 1)), 5)).astype(np.float32)
    matrix = pool[rng.integers(0, len(pool), count)]
    queries = rng.integers(-3, 4, size=(asked, 5)).astype(np.float32)
    among = None if share is None else np.flatnonzero(rng.random(count) < share)
    rows = range(count) if among is None else among.tolist()
    for query, (found, scores) in zip(queries, exact_top(queries, matrix, k, among), strict=True):
        assert found.tolist() == slow(query, matrix, k, rows)
        assert np.array_equal(scores, matrix[found] @ query)


@pytest.mark.parametrize("chunk", [1, 5000, 2**22])
def test_the_chunk_changes_nothing(chunk, monkeypatch):
    rng = np.random.default_rng(0)
    matrix, queries = rng.standard_normal((3000, 64), np.float32), rng.standard_normal((9, 64), np.float32)
    whole = exact_top(queries, matrix, 20)
    monkeypatch.setattr(scoring, "_CHUNK_SCORES", chunk)
    for (rows, scores), (again, equal) in zip(whole, exact_top(queries, matrix, 20), strict=True):
        assert np.array_equal(rows, again)
        assert np.array_equal(scores, equal)


def test_equal_rows_have_equal_scores_and_names_order_them():
    rng = np.random.default_rng(0)
    matrix = np.repeat(rng.standard_normal((10, 37), np.float32), 100, axis=0)[rng.permutation(1000)]
    query = rng.standard_normal((1, 37), np.float32)
    names = [f"{row * 7919 % 1000:04d}" for row in range(1000)]
    rows, scores = exact_top(query, matrix, 150, names=lambda at: [names[row] for row in at])[0]
    assert len(set(scores.tolist())) == 2
    for value in set(scores.tolist()):
        called = [names[row] for row, score in zip(rows, scores, strict=True) if score == value]
        assert called == sorted(called)
