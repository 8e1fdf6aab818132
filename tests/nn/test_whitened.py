"""The whitened part's power."""

import torch
from torch.nn import functional as F

from crosslens.nn.whitened import WhitenedPart, powered


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


def test_the_part_centres_powered_features_and_survives_saving():
    g = torch.Generator().manual_seed(1)
    features, matrix = torch.rand(20, 6, generator=g), torch.randn(6, 6, generator=g)
    means = {"photo": powered(features, 0.5).mean(0)}
    part = WhitenedPart(matrix, means, 0.4, 0.5)
    rows = part(features, ["photo"] * 20)
    centred = F.normalize(powered(features, 0.5) - means["photo"], dim=1)
    assert torch.allclose(rows, F.normalize(centred @ matrix, dim=1), atol=1e-6)
    again = WhitenedPart.from_tensors(part.tensors(), ["photo"], part.share, part.power)
    assert torch.equal(again(features, ["photo"] * 20), rows)
    assert not torch.allclose(WhitenedPart(matrix, means, 0.4)(features, ["photo"] * 20), rows, atol=1e-3)
