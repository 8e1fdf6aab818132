"""UEM's losses against golden values computed in float64 with plain loops over the paper's equations."""

import math

import pytest
import torch
from torch.nn import functional as F

from crosslens.losses.adversarial import domain_accuracy, domain_adversarial
from crosslens.losses.semantic import (
    neighbour_match_loss,
    prototype_loss,
    semantic_enhanced,
    semantic_preserving,
    slow_bank_contrast,
    switchable_match_loss,
)
from crosslens.ops.matching import dissimilarity, switchable_match
from testing.golden import read_golden

GOLDEN = read_golden("uem")
INDEX = torch.tensor([3, 7, 0, 9, 5, 2])
OWN = torch.tensor([0, 4, 2, 1, 3, 2])
RELIABLE = torch.tensor([True, False, True, False, False, True])


def det(n, d, a, b, c):
    i = torch.arange(n, dtype=torch.float64)[:, None]
    j = torch.arange(d, dtype=torch.float64)[None, :]
    return F.normalize(torch.sin(a * i + b * j + c * i * j + 0.1), dim=1)


@pytest.fixture
def z():
    return det(6, 8, 0.31, 0.77, 0.05).requires_grad_(True)


BANK = det(10, 8, 0.7, 1.3, 0.11)
OTHER = det(9, 8, 0.5, 0.9, 0.17)
PROTOTYPES = det(5, 8, 1.1, 0.3, 0.2)
FROZEN = det(6, 8, 0.41, 0.67, 0.07)


def matched(z):
    positions = dissimilarity(OTHER, PROTOTYPES).argmin(1)
    own = 1.3 * det(4, 8, 0.9, 0.4, 0.3)
    return switchable_match(z.detach(), own, torch.tensor([2, 1, 4, 0]), OTHER, positions)


class TestInstance:
    @pytest.mark.parametrize("negatives", ["batch", "bank"])
    def test_golden(self, z, negatives):
        loss = slow_bank_contrast(z, BANK, INDEX, 0.07, negatives)
        assert float(loss) == pytest.approx(GOLDEN[f"instance_{negatives}"], rel=1e-9)
        assert torch.isfinite(torch.autograd.grad(loss, z)[0]).all()

    @pytest.mark.parametrize("negatives", ["batch", "bank"])
    def test_a_sum_is_the_mean_times_the_images(self, z, negatives):
        loss = slow_bank_contrast(z, BANK, INDEX, 0.07, negatives, "sum")
        assert float(loss) == pytest.approx(6 * GOLDEN[f"instance_{negatives}"], rel=1e-9)

    @pytest.mark.parametrize(("classes", "cosine"), GOLDEN["etf_cosine"].items())
    def test_it_is_least_where_rows_are_a_simplex(self, classes, cosine):
        # Theorem 3.1: unit rows that repel each other alone end at equal cosines of -1 / (C - 1).
        count = int(classes)
        rows = det(count, count, 0.9, 0.37, 0.61)
        for _ in range(300):
            free = rows.clone().requires_grad_(True)
            gradient = torch.autograd.grad(slow_bank_contrast(free, rows, torch.arange(count), 1.0), free)[0]
            rows = F.normalize(rows - count * gradient, dim=1)
        others = (rows @ rows.t())[~torch.eye(count, dtype=torch.bool)]
        assert torch.allclose(others, torch.full_like(others, cosine), atol=1e-3)

    def test_an_image_twice_in_a_batch_counts_once(self, z):
        index = torch.tensor([3, 7, 0, 9, 5, 3])
        once = slow_bank_contrast(z[:5], BANK, index[:5])
        twice = slow_bank_contrast(z[[0, 1, 2, 3, 4, 0]], BANK, index)
        first = slow_bank_contrast(z[:1], BANK, torch.tensor([3]))
        assert float(first) == pytest.approx(0, abs=1e-12)
        rows = F.cross_entropy(z[:5] @ BANK[index[:5]].t() / 0.07, torch.arange(5), reduction="none")
        assert float(once) == pytest.approx(float(rows.mean()), rel=1e-9)
        assert float(twice) == pytest.approx(float((rows.sum() + rows[0]) / 6), rel=1e-9)

    def test_no_gradient_reaches_the_bank(self, z):
        bank = BANK.clone().requires_grad_(True)
        slow_bank_contrast(z, bank, INDEX).backward()
        assert bank.grad is None


class TestPrototypes:
    def test_golden(self, z):
        assert float(prototype_loss(z, PROTOTYPES, OWN)) == pytest.approx(GOLDEN["prototype"], rel=1e-9)
        assert float(semantic_enhanced(z, PROTOTYPES)) == pytest.approx(GOLDEN["semantic"], rel=1e-9)
        total = prototype_loss(z, PROTOTYPES, OWN, reduction="sum")
        assert float(total) == pytest.approx(6 * GOLDEN["prototype"], rel=1e-9)

    def test_small_where_features_are_their_prototypes_and_no_nan(self):
        prototypes = torch.eye(5, dtype=torch.float64)
        z = prototypes[OWN].clone().requires_grad_(True)
        first, second = prototype_loss(z, prototypes, OWN), semantic_enhanced(z, prototypes)
        assert float(first.detach()) < 1e-5
        assert float(second.detach()) < 1e-4
        assert torch.isfinite(torch.autograd.grad(first + second, z)[0]).all()

    def test_weights_may_be_constants(self, z):
        plain = torch.autograd.grad(semantic_enhanced(z, PROTOTYPES), z)[0]
        fixed = torch.autograd.grad(semantic_enhanced(z, PROTOTYPES, detach_weights=True), z)[0]
        assert not torch.allclose(plain, fixed)
        weights = torch.softmax(z.detach() @ PROTOTYPES.t() / 0.07, 1)
        slow = (weights * torch.cdist(z, PROTOTYPES)).sum(1).mean()
        assert torch.allclose(fixed, torch.autograd.grad(slow, z)[0], atol=1e-9)

    def test_distances_are_right_for_prototypes_of_any_length(self, z):
        uneven = torch.tensor([0.7, 1.3, 0.2, 1.0, 0.9], dtype=torch.float64)[:, None] * PROTOTYPES
        assert float(semantic_enhanced(z, uneven)) == pytest.approx(GOLDEN["semantic_uneven"], rel=1e-9)
        weights = torch.softmax(z @ uneven.t() / 0.07, 1)
        slow = (weights * (z[:, None] - uneven[None]).norm(dim=2)).sum(1).mean()
        gradients = [torch.autograd.grad(loss, z)[0] for loss in (semantic_enhanced(z, uneven), slow)]
        assert torch.allclose(*gradients, atol=1e-9)

    def test_by_hand(self):
        # Distances 0.3 and sqrt(1 + 0.49); weights e^1.4 : 1.
        z, prototypes = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.7, 0.0], [0.0, 0.7]])
        wanted = (math.exp(1.4) * 0.3 + math.sqrt(1.49)) / (math.exp(1.4) + 1)
        assert float(semantic_enhanced(z, prototypes, 0.5)) == pytest.approx(wanted, rel=1e-6)
        assert float(semantic_enhanced(z, prototypes, 0.5)) == pytest.approx(0.4821205, rel=1e-6)


class TestPreserving:
    def test_golden(self, z):
        assert float(semantic_preserving(z, FROZEN)) == pytest.approx(GOLDEN["preserving"], abs=1e-6)

    def test_zero_for_the_frozen_encoder_itself_and_under_a_common_rotation(self, z):
        turn = torch.linalg.qr(torch.randn(8, 8, dtype=torch.float64))[0]
        assert float(semantic_preserving(z, z)) == 0
        # Equal rows aside, whose distance is clamped, rounding is all that is left.
        assert float(semantic_preserving(z @ turn, z)) < 1e-12

    def test_finite_gradient_with_equal_rows(self):
        rows = det(6, 8, 0.31, 0.77, 0.05)[[0, 0, 1, 1, 2, 3]].requires_grad_(True)
        assert torch.isfinite(torch.autograd.grad(semantic_preserving(rows, FROZEN), rows)[0]).all()


class TestMatch:
    def test_search_golden(self, z):
        found = matched(z)
        assert found.target.tolist() == GOLDEN["match"]["target"]
        assert found.neighbour.tolist() == GOLDEN["match"]["neighbour"]
        assert found.reliable.tolist() == GOLDEN["match"]["reliable"]
        positions = dissimilarity(OTHER, PROTOTYPES).argmin(1)
        assert positions.tolist() == GOLDEN["bank_positions"]

    def test_loss_golden(self, z):
        found = matched(z)
        loss = switchable_match_loss(z, PROTOTYPES, OTHER, *found)
        assert float(loss) == pytest.approx(GOLDEN["match_loss"], rel=1e-9)
        given = switchable_match_loss(z, PROTOTYPES, OTHER, found.target, found.neighbour, RELIABLE)
        assert float(given) == pytest.approx(GOLDEN["match_loss_given"], rel=1e-9)
        positions = torch.tensor(GOLDEN["bank_positions"])
        excluded = positions[None] == found.target[:, None]
        loss = switchable_match_loss(
            z, PROTOTYPES, OTHER, found.target, found.neighbour, RELIABLE, excluded=excluded
        )
        assert float(loss) == pytest.approx(GOLDEN["match_loss_excluded"], rel=1e-9)

    def test_never_negative_and_a_reliable_neighbour_lowers_it(self, z):
        found = matched(z)
        losses = [
            float(switchable_match_loss(z, PROTOTYPES, OTHER, found.target, found.neighbour, torch.full((6,), on)))
            for on in (False, True)
        ]
        assert 0 <= losses[1] < losses[0]

    def test_no_gradient_into_bank_or_prototypes(self, z):
        bank, prototypes = OTHER.clone().requires_grad_(True), PROTOTYPES.clone().requires_grad_(True)
        found = matched(z)
        switchable_match_loss(z, prototypes, bank, *found).backward()
        assert bank.grad is None
        assert prototypes.grad is None
        assert z.grad is not None

    def test_neighbour_loss_is_a_softmax_over_the_other_bank(self, z):
        found = matched(z)
        logits = z @ OTHER.t() / 0.07
        slow = torch.stack(
            [torch.logsumexp(row, 0) - row[n] for row, n in zip(logits, found.neighbour, strict=True)]
        )
        assert float(neighbour_match_loss(z, OTHER, found.neighbour)) == pytest.approx(
            float(slow.mean()), rel=1e-9
        )


class TestAdversarial:
    def test_golden(self):
        a, b = (torch.tensor(v, dtype=torch.float64) for v in ([0.3, -1.2, 2.1], [-0.4, 0.8, -2.5]))
        assert float(domain_adversarial([a, b])) == pytest.approx(GOLDEN["adversarial"], rel=1e-9)
        total = domain_adversarial([a, b], "sum")
        assert float(total) == pytest.approx(6 * GOLDEN["adversarial"], rel=1e-9)
        assert float(domain_accuracy([a, b])) == pytest.approx(2 / 3)

    def test_log_two_at_chance(self):
        zero = torch.zeros(4)
        assert float(domain_adversarial([zero, zero])) == pytest.approx(math.log(2))
