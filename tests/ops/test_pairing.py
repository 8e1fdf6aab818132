import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment, minimize
from scipy.special import logsumexp

from crosslens.ops.pairing import (
    SHARPNESS,
    doubt_shares,
    find_candidates,
    pair_many_to_one,
    pair_one_to_one,
    share_out,
    temperature_of,
)
from crosslens.ops.sinkhorn import scale_by_sinkhorn
from crosslens.support.errors import EvaluationError


def unit_rows(count, dim, seed):
    rows = np.random.default_rng(seed).standard_normal((count, dim)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def noisy_copies(rows, noise, seed=1):
    moved = rows + noise * unit_rows(*rows.shape, seed)
    return moved / np.linalg.norm(moved, axis=1, keepdims=True)


@pytest.mark.parametrize(("n", "m", "most"), [(40, 30, 3), (5, 60, 4), (1, 1, 20), (7, 2, 20)])
def test_candidates_are_the_nearest_each_way(n, m, most):
    a, b = unit_rows(n, 8, 0), unit_rows(m, 8, 1)
    found = find_candidates(a, b, most)
    scores = a @ b.T
    wanted = {(i, int(j)) for i in range(n) for j in np.argsort(-scores[i])[:most]}
    wanted |= {(int(i), j) for j in range(m) for i in np.argsort(-scores[:, j])[:most]}
    assert list(zip(found.rows.tolist(), found.columns.tolist(), strict=True)) == sorted(wanted)
    np.testing.assert_allclose(found.scores, scores[found.rows, found.columns], atol=1e-6)
    assert found.shape == (n, m)


def test_every_row_is_counted_once_for_the_bar():
    done = []
    find_candidates(unit_rows(33, 4, 0), unit_rows(20, 4, 1), on_progress=done.append)
    assert sum(done) == 53


def test_an_empty_side_is_refused():
    with pytest.raises(EvaluationError, match="empty"):
        find_candidates(np.empty((0, 4), np.float32), unit_rows(3, 4, 0))


@pytest.mark.parametrize(("n", "m", "many"), [(30, 30, False), (30, 30, True), (30, 12, True)])
def test_with_all_pairs_the_plan_is_the_dense_one(n, m, many):
    a, b = unit_rows(n, 8, 0), unit_rows(m, 8, 1)
    shares = share_out(find_candidates(a, b, max(n, m)), 0.1, many=many).reshape(n, m)
    scores = a @ b.T
    u, v = scale_by_sinkhorn(scores, 0.1, np.ones(n))
    np.testing.assert_allclose(shares, np.exp((scores + u[:, None] + v) / 0.1), atol=5e-3)


@pytest.mark.parametrize(("n", "m"), [(25, 40), (40, 25)])
def test_a_plan_with_capacities_is_the_nearest_to_the_scores(n, m):
    """The best of all plans that give 1 and take at most 1, by a general solver."""
    a, b = unit_rows(n, 6, 0)[:5], unit_rows(m, 6, 1)[:7]
    a, b = (a, b) if n < m else (b, a)
    found = find_candidates(a, b, 7)
    scores = a @ b.T
    giver = 1 if n < m else 0

    def loss(flat):
        plan = np.maximum(flat.reshape(scores.shape), 1e-12)
        return float((plan * (np.log(plan) - 1) - plan * scores / 0.1).sum())

    sums = {"type": "eq", "fun": lambda flat: flat.reshape(scores.shape).sum(giver) - 1}
    capacity = {"type": "ineq", "fun": lambda flat: 1 - flat.reshape(scores.shape).sum(1 - giver)}
    start = np.full(scores.size, 1 / scores.shape[giver])
    best = minimize(loss, start, bounds=[(0, 1)] * scores.size, constraints=[sums, capacity], tol=1e-12)
    shares = share_out(found, 0.1).reshape(scores.shape)
    np.testing.assert_allclose(shares, best.x.reshape(scores.shape), atol=5e-3)


def test_a_sparse_plan_is_what_slow_scaling_gives():
    a, b = unit_rows(25, 6, 0), unit_rows(20, 6, 1)
    found = find_candidates(a, b, 8)
    logs = np.full((25, 20), -np.inf)
    logs[found.rows, found.columns] = found.scores / 0.2
    v = np.zeros(20)
    for _ in range(100):
        u = -logsumexp(logs + v, 1)
        v = np.log(25 / 20) - logsumexp(logs + u[:, None], 0)
    plan = np.exp(logs - logsumexp(logs + v, 1)[:, None] + v)
    np.testing.assert_allclose(share_out(found, 0.2, many=True), plan[found.rows, found.columns], atol=5e-3)


@pytest.mark.parametrize(("n", "m", "many"), [(40, 40, False), (60, 20, False), (20, 60, False), (60, 20, True)])
def test_no_picture_gives_or_takes_too_much(n, m, many):
    a, b = unit_rows(n, 8, 0), unit_rows(m, 8, 1)
    found = find_candidates(a, b)
    shares = share_out(found, 0.05, many=many)
    of_a, of_b = np.bincount(found.rows, shares), np.bincount(found.columns, shares)
    given, taken = (of_a, of_b) if many or n <= m else (of_b, of_a)
    np.testing.assert_allclose(given, 1, rtol=1e-9)
    assert taken.max() < 1.1 * max(1, len(given) / len(taken))
    assert (shares >= 0).all()


def test_many_strangers_do_not_make_a_clear_pair_less_probable():
    a = unit_rows(20, 32, 0)
    b = np.concatenate([noisy_copies(a, 0.3), unit_rows(500, 32, 5)])
    for one, other in ((a, b), (b, a)):
        found = find_candidates(one, other)
        shares = share_out(found, temperature_of(one, other))
        pairs = pair_one_to_one(found, shares)[:20]
        assert (found.rows[pairs] == found.columns[pairs]).all()
        assert shares[pairs].min() > 0.9


def test_the_temperature_follows_the_scores():
    a, b = unit_rows(50, 8, 0), unit_rows(70, 8, 1)
    assert temperature_of(a, b) == pytest.approx((a @ b.T).std() / SHARPNESS)
    assert temperature_of(a, 3 * b) == pytest.approx(3 * temperature_of(a, b), rel=1e-5)
    assert temperature_of(a[:1], b[:1]) > 0


def test_pairs_are_those_of_the_best_assignment_where_partners_are_clear():
    a = unit_rows(200, 32, 0)
    order = np.random.default_rng(2).permutation(200)
    b = noisy_copies(a, 0.6)[order]
    found = find_candidates(a, b)
    pairs = pair_one_to_one(found, share_out(found, temperature_of(a, b)))
    rows, columns = linear_sum_assignment(-(a @ b.T))
    assert set(zip(found.rows[pairs].tolist(), found.columns[pairs].tolist(), strict=True)) == set(
        zip(rows.tolist(), columns.tolist(), strict=True)
    )
    assert (order[found.columns[pairs]] == found.rows[pairs]).all()


def test_one_to_one_is_a_stable_marriage():
    found = find_candidates(unit_rows(60, 5, 0), unit_rows(45, 5, 1))
    shares = share_out(found, 0.05)
    pairs = pair_one_to_one(found, shares)
    rows, columns = found.rows[pairs], found.columns[pairs]
    assert len(set(rows.tolist())) == len(set(columns.tolist())) == len(pairs)
    assert (np.diff(shares[pairs]) <= 0).all()
    best_a, best_b = np.full(60, -1.0), np.full(45, -1.0)
    best_a[rows] = best_b[columns] = shares[pairs]
    # No candidate is better for both of its rows than what they have.
    assert not ((shares > best_a[found.rows]) & (shares > best_b[found.columns])).any()


def test_many_to_one_takes_the_best_of_every_row():
    found = find_candidates(unit_rows(60, 5, 0), unit_rows(9, 5, 1))
    shares = share_out(found, 0.05, many=True)
    pairs = pair_many_to_one(found, shares)
    assert sorted(found.rows[pairs].tolist()) == list(range(60))
    assert (np.diff(shares[pairs]) <= 0).all()
    table = np.full((60, 9), -1.0)
    table[found.rows, found.columns] = shares
    np.testing.assert_array_equal(shares[pairs], table[found.rows[pairs]].max(1))


def test_a_hub_does_not_take_everything():
    a = unit_rows(100, 16, 0)
    b = noisy_copies(a, 0.9)
    # One row of B lies in the middle of A and is near to all of it.
    middle = a.mean(0) / np.linalg.norm(a.mean(0))
    a = a + 0.8 * middle
    a /= np.linalg.norm(a, axis=1, keepdims=True)
    b[0] = middle
    nearest = (a @ b.T).argmax(1)
    assert (nearest == 0).mean() > 0.5
    found = find_candidates(a, b)
    shares = share_out(found, temperature_of(a, b), many=True)
    pairs = pair_many_to_one(found, shares)
    assert (found.columns[pairs] == 0).mean() < 0.05
    assert (found.columns[pairs] == found.rows[pairs]).mean() > 1.5 * (nearest == np.arange(100)).mean()


def test_probabilities_tell_how_often_pairs_are_right():
    """Scores of random rows spread as log-likelihoods do only roughly; the order of the bins must hold."""
    a = unit_rows(600, 24, 0)
    b = noisy_copies(a, 1.4)
    found = find_candidates(a, b)
    shares = share_out(found, temperature_of(a, b))
    pairs = pair_one_to_one(found, shares)
    right, p = found.rows[pairs] == found.columns[pairs], shares[pairs]
    shares_right = [right[(p >= low) & (p < low + 1 / 3 + 1e-9)].mean() for low in (0, 1 / 3, 2 / 3)]
    assert shares_right == sorted(shares_right)
    assert shares_right[2] - shares_right[0] > 0.4


def paired(a, b):
    found = find_candidates(a, b)
    shares = share_out(found, temperature_of(a, b))
    return found, shares, pair_one_to_one(found, shares)


def test_of_sides_that_share_nothing_hardly_any_pair_is_probable():
    told = []
    for seed in range(4):
        found, shares, pairs = paired(unit_rows(400, 24, seed), unit_rows(400, 24, seed + 10))
        assert shares[pairs].mean() > 0.3
        told.append(doubt_shares(found, shares, pairs).mean())
    assert np.mean(told) < 0.01


@pytest.mark.parametrize("partnered", [60, 80])
def test_the_probability_is_nearer_than_the_share_to_how_often_pairs_are_right(partnered):
    a = unit_rows(400, 24, 0)
    b = np.concatenate([noisy_copies(a[:partnered], 1.0), unit_rows(400 - partnered, 24, 5)])
    found, shares, pairs = paired(a, b)
    right = found.rows[pairs] == found.columns[pairs]
    right &= found.rows[pairs] < partnered
    told = doubt_shares(found, shares, pairs)
    assert abs(told.sum() - right.sum()) < 0.7 * abs(shares[pairs].sum() - right.sum())
    assert right[told > 0.5].mean() > 0.8


def test_where_all_have_clear_partners_the_probability_is_the_share():
    a = unit_rows(300, 24, 0)
    found, shares, pairs = paired(a, noisy_copies(a, 0.7))
    np.testing.assert_allclose(doubt_shares(found, shares, pairs), shares[pairs], atol=1e-6)


def test_doubt_is_what_a_dense_table_gives():
    a = unit_rows(120, 24, 0)
    found, shares, pairs = paired(a, np.concatenate([noisy_copies(a[:12], 1.0), unit_rows(100, 24, 5)]))
    table = np.zeros(found.shape)
    table[found.rows, found.columns] = shares
    ratios, decoys, strange = [], [], []
    for row, column in zip(found.rows[pairs], found.columns[pairs], strict=True):
        others = np.concatenate([np.delete(table[row], column), np.delete(table[:, column], row)])
        third, second = np.sort(others)[-2:]
        if table[row, column] > second:
            rest = 1 - table[row, column]
            strange.append(rest)
            decoys.append(min(20, 1 + second * (second / third) ** 2 / rest))
            ratios.append(min(20, 1 / rest))
    level = np.average(decoys, weights=strange)
    level += np.sqrt(2 * sum((w * (d - level)) ** 2 for w, d in zip(strange, decoys, strict=True))) / sum(strange)
    grid = np.linspace(0, 1, 100_001)
    loss = sum(-np.log(1 - grid + grid * ratio / level) for ratio in ratios)
    share = grid[loss.argmin()]
    p = shares[pairs]
    g = 1 / (1 - p) / level
    assert 0 < share < 1
    np.testing.assert_allclose(
        doubt_shares(found, shares, pairs), p * share * g / (1 - share + share * g), rtol=1e-3, atol=1e-6
    )


def test_the_order_stays_and_nothing_gets_surer():
    found, shares, pairs = paired(unit_rows(200, 12, 0), noisy_copies(unit_rows(200, 12, 0), 1.2))
    told = doubt_shares(found, shares, pairs)
    assert (np.diff(told) <= 0).all()
    assert (told <= shares[pairs] + 1e-6).all()


@pytest.mark.parametrize(("n", "m"), [(1, 1), (1, 2), (2, 1), (2, 2), (3, 40)])
def test_few_rows_have_a_probability(n, m):
    found, shares, pairs = paired(unit_rows(n, 8, 0), unit_rows(m, 8, 1))
    told = doubt_shares(found, shares, pairs)
    assert told.shape == (min(n, m),)
    assert ((told >= 0) & (told <= 1)).all()


def test_rows_that_are_the_same_on_both_sides_stay_sure():
    a = unit_rows(100, 64, 0)
    found, shares, pairs = paired(a, np.concatenate([a[:20], unit_rows(80, 64, 3)]))
    told = doubt_shares(found, shares, pairs)
    same = found.rows[pairs] == found.columns[pairs]
    assert told[same].min() > 0.9
