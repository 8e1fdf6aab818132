"""Sinkhorn's scaling against its textbook form, its definition, and assignment as its limit."""

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment

from crosslens.ops.sinkhorn import scale_by_sinkhorn, transport_codes

RNG = np.random.default_rng(0)


def plan(scores, temperature, **options):
    u, v = scale_by_sinkhorn(scores, temperature, **options)
    return np.exp((scores + u[:, None] + v) / temperature)


def test_sums_are_the_wanted_ones():
    scores = RNG.normal(size=(7, 5))
    rows, columns = RNG.uniform(0.1, 1, 7), RNG.uniform(0.1, 1, 5)
    columns *= rows.sum() / columns.sum()
    found = plan(scores, 0.5, rows=rows, columns=columns, rounds=2000, tolerance=1e-12)
    np.testing.assert_allclose(found.sum(1), rows, rtol=1e-9)
    np.testing.assert_allclose(found.sum(0), columns, rtol=1e-9)


def test_agrees_with_the_textbook():
    scores = RNG.normal(size=(6, 6))
    kernel = np.exp(scores / 0.7)
    b = np.ones(6)
    for _ in range(1000):
        a = (1 / 6) / (kernel @ b)
        b = (1 / 6) / (kernel.T @ a)
    np.testing.assert_allclose(plan(scores, 0.7, rounds=2000, tolerance=0), a[:, None] * kernel * b, atol=1e-12)


def test_rows_are_exact_after_any_number_of_rounds():
    assert plan(RNG.normal(size=(4, 9)), 0.1, rounds=1).sum(1) == pytest.approx([0.25] * 4)


def test_a_small_temperature_gives_the_best_assignment_and_does_not_overflow():
    scores = RNG.normal(size=(12, 12))
    found = plan(scores, 0.002, rounds=20000)
    assert found.argmax(1).tolist() == linear_sum_assignment(-scores)[1].tolist()
    assert np.isfinite(plan(1000 * scores, 1e-3, rounds=50)).all()


def test_a_column_without_mass_takes_no_part():
    found = plan(RNG.normal(size=(3, 3)), 1.0, columns=np.array([1.0, 0.0, 1.0]))
    assert (found[:, 1] == 0).all()
    assert found.sum() == pytest.approx(1)


def test_potentials_are_told_up_to_a_level_that_is_fixed():
    u, v = scale_by_sinkhorn(RNG.normal(size=(5, 8)), 0.3)
    assert v.mean() == pytest.approx(0)
    assert u.shape == (5,)


@pytest.mark.parametrize(
    ("scores", "options"),
    [(np.zeros((0, 3)), {}), (np.zeros((3, 0)), {}), (np.zeros((2, 2)), {"rows": np.zeros(2)})],
)
def test_nothing_to_share_is_refused(scores, options):
    with pytest.raises(ValueError, match=r"without rows|no mass"):
        scale_by_sinkhorn(scores, 1.0, **options)


class TestTransportCodes:
    """The short form for training, in torch."""

    scores = torch.from_numpy(RNG.uniform(-1, 1, size=(30, 4)))
    shares = torch.tensor([0.4, 0.3, 0.2, 0.1], dtype=torch.float64)

    @pytest.mark.parametrize("rounds", [1, 3])
    def test_it_is_the_plain_loop(self, rounds):
        """Columns to their shares, then rows to one, on the whole table, as SwAV writes it."""
        table = np.exp(self.scores.numpy() / 0.05)
        for _ in range(rounds):
            for column, share in enumerate(self.shares.tolist()):
                table[:, column] *= share / table[:, column].sum()
            for row in range(30):
                table[row] /= 30 * table[row].sum()
        np.testing.assert_allclose(transport_codes(self.scores, self.shares, 0.05, rounds), 30 * table, rtol=1e-9)

    def test_many_rounds_find_what_the_logarithmic_form_finds(self):
        found = transport_codes(self.scores, self.shares, 0.3, 500)
        wanted = plan(self.scores.numpy(), 0.3, columns=self.shares.numpy(), rounds=5000, tolerance=1e-13)
        np.testing.assert_allclose(found, 30 * wanted, atol=1e-9)
        np.testing.assert_allclose(found.sum(0), 30 * self.shares, rtol=1e-9)

    def test_shares_move_images_to_where_there_is_room(self):
        """Six images that all look like the first column: five of them have to go elsewhere."""
        scores = torch.tensor([[1.0, 0.0]]).repeat(6, 1) + torch.linspace(0, 0.5, 6)[:, None] * torch.tensor(
            [1, 0]
        )
        codes = transport_codes(scores, torch.tensor([1 / 6, 5 / 6]), 0.02, 100)
        assert codes.argmax(1).tolist() == [1, 1, 1, 1, 1, 0]

    def test_a_column_without_a_share_gets_nothing_and_the_hardest_codes_stay_finite(self):
        codes = transport_codes(torch.tensor([[1.0, -1.0], [-1.0, 1.0]]), torch.tensor([1.0, 0.0]), 0.02, 3)
        assert codes.tolist() == [[1, 0], [1, 0]]
