"""Hub numbers against slow formulas, and against Sinkhorn's own sums."""

import numpy as np
import pytest

from crosslens.ops.hubs import bank_potentials, csls_numbers, softmax_numbers
from crosslens.ops.sinkhorn import scale_by_sinkhorn


@pytest.fixture
def scores():
    return np.random.default_rng(0).uniform(-0.2, 0.9, (40, 60))


def test_csls_is_half_the_mean_of_the_best(scores):
    slow = [sum(sorted(scores[:, item])[-10:]) / 20 for item in range(60)]
    np.testing.assert_allclose(csls_numbers(scores), slow, atol=1e-12)
    np.testing.assert_allclose(csls_numbers(scores[:3]), scores[:3].mean(0) / 2, atol=1e-12)


def test_the_inverted_softmax_by_the_slow_formula(scores):
    slow = [0.05 * np.log(sum(np.exp(score / 0.05) for score in scores[:, item])) for item in range(60)]
    np.testing.assert_allclose(softmax_numbers(scores, 0.05), slow, atol=1e-12)
    # A query that does not count takes no part, and scores of any size do not overflow.
    fewer = scores.copy()
    fewer[7] = -np.inf
    np.testing.assert_allclose(softmax_numbers(fewer, 0.05), softmax_numbers(np.delete(scores, 7, 0), 0.05))
    assert np.isfinite(softmax_numbers(1e5 * scores, 0.05)).all()
    assert (softmax_numbers(np.full((2, 3), -np.inf), 0.05) == -np.inf).all()


def test_an_item_s_number_is_minus_its_potential_of_sinkhorn(scores):
    potentials = bank_potentials(scores, 0.05, rounds=2000)
    numbers = softmax_numbers(scores, 0.05, potentials)
    _, columns = scale_by_sinkhorn(scores, 0.05, rounds=2000, tolerance=1e-12)
    np.testing.assert_allclose(numbers, -columns, atol=1e-6)
    assert numbers.mean() == pytest.approx(0, abs=1e-12)
    # Every query and every item gets its equal share.
    plan = np.exp((scores + potentials[:, None] - numbers) / 0.05)
    np.testing.assert_allclose(plan.sum(0) / plan.sum(), 1 / 60, rtol=1e-3)
    np.testing.assert_allclose(plan.sum(1) / plan.sum(), 1 / 40, rtol=1e-3)


def test_pairs_that_do_not_count_have_no_part_of_the_plan(scores):
    scores[np.arange(40), np.arange(40)] = -np.inf
    potentials = bank_potentials(scores, 0.05, rounds=2000)
    numbers = softmax_numbers(scores, 0.05, potentials)
    plan = np.exp((scores + potentials[:, None] - numbers) / 0.05)
    np.testing.assert_allclose(plan.sum(0) / plan.sum(), 1 / 60, rtol=1e-3)
    assert (plan[np.arange(40), np.arange(40)] == 0).all()


def test_a_hub_is_one_no_more():
    rng = np.random.default_rng(1)
    things = rng.standard_normal((300, 16))
    gallery = things + 0.1 * rng.standard_normal((300, 16))
    # One item lies where everything is near it.
    gallery[0] = things.mean(0) + 3
    queries = things + 1.0 * rng.standard_normal((300, 16)) + 3
    rows = [side / np.linalg.norm(side, axis=1, keepdims=True) for side in (queries, gallery)]
    bank, asked = rows[0][:150] @ rows[1].T, rows[0][150:] @ rows[1].T
    numbers = softmax_numbers(bank, 0.05, bank_potentials(bank, 0.05))
    plain, aimed = asked.argmax(1), (asked - numbers).argmax(1)
    assert (plain == 0).mean() > 0.5
    assert (aimed == 0).mean() < 0.05
    right = np.arange(150, 300)
    assert (aimed == right).mean() > (plain == right).mean() + 0.1


@pytest.mark.parametrize("learn", [csls_numbers, lambda bank: bank_potentials(bank, 0.05)])
def test_an_empty_bank_is_refused(learn):
    with pytest.raises(ValueError, match="holds no query"):
        learn(np.empty((0, 5)))


def test_a_query_without_a_score_is_refused(scores):
    scores[3] = -np.inf
    with pytest.raises(ValueError, match="needs a score"):
        bank_potentials(scores, 0.05)
