import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from crosslens.ops.whitening import balanced_share, powered, within_class_whitening


def problem(seed=0, images=60, classes=4, dim=6):
    g = torch.Generator().manual_seed(seed)
    rows = F.normalize(torch.randn(images, dim, generator=g), dim=1)
    return rows, torch.randint(0, classes, (images,), generator=g), torch.rand(images, generator=g)


@given(st.integers(0, 100))
def test_it_is_the_slow_formula(seed):
    rows, labels, weights = problem(seed)
    found = within_class_whitening(rows, labels, weights, 4, ridge=0.5).double()
    x, w = rows.double(), weights.double()
    scatter = torch.zeros(6, 6, dtype=torch.float64)
    for c in labels.unique():
        own = labels == c
        mean = (w[own, None] * x[own]).sum(0) / w[own].sum()
        for i in own.nonzero().squeeze(1):
            scatter += w[i] * torch.outer(x[i] - mean, x[i] - mean)
    scatter = scatter / w.sum() + 0.5 * x.square().sum() / x.numel() * torch.eye(6, dtype=torch.float64)
    # Up to its scale, the square of the map is the inverse of the scatter.
    product = found @ found @ scatter
    assert torch.allclose(product / product[0, 0], torch.eye(6).double(), atol=1e-4)
    assert float(torch.linalg.eigvalsh(found).mean()) == pytest.approx(1, abs=1e-5)
    assert torch.allclose(found, found.t(), atol=1e-6)


def test_images_without_weight_count_for_nothing():
    rows, labels, weights = problem()
    weights[:20] = 0
    full = within_class_whitening(rows, labels, weights, 4, ridge=1e-9)
    rest = within_class_whitening(rows[20:], labels[20:], weights[20:], 4, ridge=1e-9)
    assert torch.allclose(full, rest, atol=1e-3)


def test_it_helps_classes_it_never_saw():
    g = torch.Generator().manual_seed(0)
    centres, nuisance = torch.randn(8, 16, generator=g), torch.randn(2, 16, generator=g)

    def draw(classes):
        y = torch.arange(classes.start, classes.stop).repeat(40)
        x = centres[y] + 2 * torch.randn(len(y), 2, generator=g) @ nuisance
        return F.normalize(x + 0.3 * torch.randn(len(y), 16, generator=g), dim=1), y

    rows, labels = draw(range(5))
    matrix = within_class_whitening(rows, labels, torch.ones(len(rows)), 5, ridge=0.1)
    new, y = draw(range(5, 8))
    same = y[:, None] == y

    def gap(x):
        s = F.normalize(x, dim=1) @ F.normalize(x, dim=1).t()
        return float((s[same].mean() - s[~same].mean()) / s.std())

    assert gap(new @ matrix) > gap(new) + 0.3


def test_the_balanced_share_evens_out_the_spread():
    g = torch.Generator().manual_seed(0)
    wide, narrow = (F.normalize(torch.randn(200, d, generator=g), dim=1) for d in (2, 200))
    w = balanced_share(wide[:100], narrow[:100], wide[100:], narrow[100:])
    first, second = wide[:100] @ wide[100:].t(), narrow[:100] @ narrow[100:].t()
    assert (1 - w) * float(first.std()) == pytest.approx(w * float(second.std()))
    assert balanced_share(wide, wide, wide, wide) == pytest.approx(0.5)
    w = balanced_share(wide[:100], narrow[:100], wide[100:], narrow[100:], ratio=0.25)
    assert (1 - w) * float(first.std()) == pytest.approx(0.25 * w * float(second.std()))


def test_power_acts_on_entries_and_keeps_signs():
    x = torch.tensor([[4.0, -9.0, 0.0, 1.0]])
    expected = F.normalize(torch.tensor([[2.0, -3.0, 0.0, 1.0]]), dim=1)
    assert torch.allclose(powered(x, 0.5), expected)
    assert torch.allclose(powered(x, 1.0), F.normalize(x, dim=1))
    assert torch.allclose(powered(3 * x, 0.5), expected)


def test_half_on_shares_is_the_hellinger_kernel():
    g = torch.Generator().manual_seed(0)
    a, b = torch.rand(2, 50, generator=g)
    a, b = a / a.sum(), b / b.sum()
    product = powered(a[None], 0.5) @ powered(b[None], 0.5).t()
    assert torch.allclose(product, (a * b).sqrt().sum())
