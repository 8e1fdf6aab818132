"""The whitened part."""

import torch
from torch.nn import functional as F

from crosslens.encoder.parts import Whitened
from crosslens.ops.whitening import powered
from testing.tiny_backbone import TinyBackbone


def test_the_part_centres_powered_features_and_survives_saving():
    g = torch.Generator().manual_seed(1)
    features, matrix = torch.rand(20, 6, generator=g), torch.randn(6, 6, generator=g)
    means = {"photo": powered(features, 0.5).mean(0)}
    part = Whitened(matrix, means, 0.4, 0.5)
    rows = part.of_features(features, ["photo"] * 20)
    centred = F.normalize(powered(features, 0.5) - means["photo"], dim=1)
    assert torch.allclose(rows, F.normalize(centred @ matrix, dim=1), atol=1e-6)
    again = Whitened.load(part.settings, part.tensors(), TinyBackbone())
    assert torch.equal(again.of_features(features, ["photo"] * 20), rows)
    assert not torch.allclose(Whitened(matrix, means, 0.4).of_features(features, ["photo"] * 20), rows, atol=1e-3)
