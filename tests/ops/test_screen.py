"""What codes leave out can never be among the best; answers by them are those of all rows."""

import numpy as np
import pytest

from crosslens.ops import screen
from crosslens.ops.calibration import largest_cosine
from crosslens.ops.screen import Screen, make_screen
from crosslens.search.stores.scoring import exact_top


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(0)
    made = rng.standard_normal((6000, 48)).astype(np.float32) ** 3
    made[100:140] = made[100]
    made[7] = 0
    return made / np.maximum(np.linalg.norm(made, axis=1, keepdims=True), 1e-9)


@pytest.fixture(scope="module")
def queries(rows):
    return rows[[100, 7, 3, 5999]] + np.float32(0.01)


def numbered(rows, weight):
    """Rows whose last number is much larger than the others."""
    return np.concatenate([rows, np.full((len(rows), 1), weight, np.float32)], axis=1)


def test_products_of_codes_are_those_of_integers():
    rng = np.random.default_rng(1)
    codes = rng.integers(-127, 128, (300, 70)).astype(np.int8)
    given = rng.integers(0, 256, (5, 300)).astype(np.uint8)
    found = screen._open_product(codes).run(None, {"queries": given})[0]
    np.testing.assert_array_equal(found, given.astype(np.int64) @ codes.astype(np.int64))


def test_no_score_is_beyond_its_bound(rows, queries):
    for query, (scores, most) in zip(queries, Screen(rows).bounds(queries), strict=True):
        exact = rows.astype(np.float64) @ query.astype(np.float64)
        assert (exact <= most).all()
        # Bounds that bound nothing would pass too.
        assert np.abs(scores - exact).max() < (most - scores).max() < 0.1


@pytest.mark.parametrize("k", [1, 20, 60])
def test_answers_are_the_same(k, rows, queries):
    coded = Screen(rows)
    some = np.flatnonzero(np.arange(len(rows)) % 3)
    for among in (None, some):
        with_it = exact_top(queries, rows, k, among, screen=coded)
        without = exact_top(queries, rows, k, among)
        for (positions, scores), (expected, exact) in zip(with_it, without, strict=True):
            np.testing.assert_array_equal(positions, expected)
            np.testing.assert_array_equal(scores, exact)


@pytest.mark.parametrize("weight", [0, -1])
def test_one_large_number_a_row_makes_no_codes_coarse(weight, rows, queries):
    large = numbered(rows, 0)
    large[:, -1] = np.linspace(-3, 3, len(rows))
    coded, asked = Screen(large), numbered(queries, weight)
    scores, most = next(coded.bounds(asked))
    exact = large.astype(np.float64) @ asked[0].astype(np.float64)
    assert (exact <= most).all()
    assert (most - scores).max() < 0.1
    for found, expected in zip(
        exact_top(asked, large, 20, screen=coded), exact_top(asked, large, 20), strict=True
    ):
        np.testing.assert_array_equal(found[0], expected[0])


def test_rows_that_are_all_alike_are_no_trouble(queries):
    rows = np.repeat(queries[:1], 3000, axis=0)
    positions, _ = exact_top(queries[:1], rows, 5, screen=Screen(rows))[0]
    assert positions.tolist() == [0, 1, 2, 3, 4]


def test_the_largest_cosine_is_the_same(rows, queries):
    found = largest_cosine(queries, rows, screen=Screen(rows))
    np.testing.assert_allclose(found, largest_cosine(queries, rows), atol=1e-6)


def test_where_products_saturate_there_is_no_screen(rows, monkeypatch):
    large = np.tile(rows, (1, 8))
    assert len(make_screen(large)) == len(rows)
    assert make_screen(rows[:100]) is None
    monkeypatch.setattr(screen, "_is_exact", lambda: False)
    assert make_screen(large) is None
