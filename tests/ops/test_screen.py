"""What codes leave out can never be among the best; answers by them are those of all rows."""

import numpy as np
import pytest

from crosslens.ops import screen
from crosslens.ops.calibration import largest_cosine
from crosslens.ops.screen import CodedScreen, NarrowedScreen, find_directions, make_screen
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


@pytest.fixture(scope="module")
def long_rows():
    """Rows around some directions of many."""
    rng = np.random.default_rng(2)
    spread = 0.95 ** np.arange(200) + 0.02
    made = (rng.standard_normal((4000, 200)) * spread) @ np.linalg.qr(rng.standard_normal((200, 200)))[0]
    made[5] = 0
    made[90:120] = made[90]
    return (made / np.maximum(np.linalg.norm(made, axis=1, keepdims=True), 1e-9)).astype(np.float32)


@pytest.fixture(scope="module")
def narrowed(long_rows):
    directions = find_directions(long_rows)
    assert directions.shape == (200, 64)
    return NarrowedScreen(long_rows, directions)


def numbered(rows, weight):
    """Rows whose last number is much larger than the others."""
    return np.concatenate([rows, np.full((len(rows), 1), weight, np.float32)], axis=1)


def test_products_of_codes_are_those_of_integers():
    rng = np.random.default_rng(1)
    codes = rng.integers(-127, 128, (300, 70)).astype(np.int8)
    given = rng.integers(0, 256, (5, 300)).astype(np.uint8)
    found = screen._open_product(codes).run(None, {"queries": given})[0]
    np.testing.assert_array_equal(found, (given.astype(np.int64) - 128) @ codes.astype(np.int64))
    rows, query = np.array([3, 0, 69]), rng.integers(-127, 128, (300, 1)).astype(np.int8)
    held = np.array(codes.T + np.int16(128), np.uint8, order="C")
    found = screen._open_gathered_product(held).run(None, {"rows": rows, "query": query})[0]
    np.testing.assert_array_equal(found, codes.T[rows].astype(np.int64) @ query.astype(np.int64))


def test_no_score_is_beyond_its_bound(rows, queries):
    for query, (scores, most) in zip(queries, CodedScreen(rows).bounds(queries), strict=True):
        exact = rows.astype(np.float64) @ query.astype(np.float64)
        assert (exact <= most).all()
        # Bounds that bound nothing would pass too.
        assert np.abs(scores - exact).max() < (most - scores).max() < 0.1


@pytest.mark.parametrize("k", [1, 20, 60])
def test_answers_are_the_same(k, rows, queries):
    coded = CodedScreen(rows)
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
    coded, asked = CodedScreen(large), numbered(queries, weight)
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
    positions, _ = exact_top(queries[:1], rows, 5, screen=CodedScreen(rows))[0]
    assert positions.tolist() == [0, 1, 2, 3, 4]


def test_the_largest_cosine_is_the_same(rows, queries):
    found = largest_cosine(queries, rows, screen=CodedScreen(rows))
    np.testing.assert_allclose(found, largest_cosine(queries, rows), atol=1e-6)


def test_directions_hold_most_of_the_rows_and_are_orthonormal(long_rows, narrowed):
    directions = find_directions(long_rows)
    np.testing.assert_allclose(directions.T @ directions, np.eye(64), atol=1e-5)
    share = ((long_rows @ directions) ** 2).sum() / (long_rows**2).sum()
    assert screen._HELD < share < 1
    # Those of the singular value decomposition, whatever their signs.
    expected = np.linalg.svd(long_rows[:: max(1, len(long_rows) // 4096)], full_matrices=False)[2][:3]
    np.testing.assert_allclose(np.abs(expected @ directions[:, :3]), np.eye(3), atol=1e-3)


def test_rows_that_go_every_way_have_no_main_directions():
    assert find_directions(np.random.default_rng(0).standard_normal((2000, 96)).astype(np.float32)) is None


def test_bounds_by_main_directions_hold(long_rows, narrowed):
    asked = long_rows[[90, 5, 1000, 3999]] + np.float32(0.002)
    for query, (_, most) in zip(asked, narrowed.bounds(asked), strict=True):
        exact = long_rows.astype(np.float64) @ query.astype(np.float64)
        assert (exact <= most).all()
        floor = float(np.sort(exact)[-10])
        near = narrowed.narrow(query, np.flatnonzero(most >= floor), floor)
        assert set(np.flatnonzero(exact >= floor)) <= set(near.tolist())
        assert len(near) < 2000 or np.linalg.norm(query) < 0.1


@pytest.mark.parametrize("k", [1, 20, 60])
def test_answers_by_main_directions_are_the_same(k, long_rows, narrowed):
    asked = long_rows[[90, 5, 1000, 3999]] + np.float32(0.002)
    some = np.flatnonzero(np.arange(len(long_rows)) % 3)
    for among in (None, some):
        with_it = exact_top(asked, long_rows, k, among, screen=narrowed)
        for (positions, scores), (expected, exact) in zip(
            with_it, exact_top(asked, long_rows, k, among), strict=True
        ):
            np.testing.assert_array_equal(positions, expected)
            np.testing.assert_array_equal(scores, exact)
    found = largest_cosine(asked, long_rows, screen=narrowed)
    np.testing.assert_allclose(found, largest_cosine(asked, long_rows), atol=1e-6)


def test_where_products_saturate_there_is_no_screen(rows, monkeypatch):
    large = np.tile(rows, (1, 8))
    assert len(make_screen(large)) == len(rows)
    assert make_screen(rows[:100]) is None
    monkeypatch.setattr(screen, "LEAST_NARROWED", large.size)
    assert isinstance(make_screen(large), NarrowedScreen)
    monkeypatch.setattr(screen, "_is_exact", lambda: False)
    assert make_screen(large) is None
