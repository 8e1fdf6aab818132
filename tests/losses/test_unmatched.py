"""ProtoOT's contrast against a loop over images and prototypes."""

import math

import pytest
import torch

from crosslens.losses.cluster import unmatched_contrast


def test_it_is_the_mean_over_images_of_the_plain_formula():
    generator = torch.Generator().manual_seed(0)
    positive = torch.rand(6, generator=generator, dtype=torch.float64, requires_grad=True)
    scores = torch.rand(6, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    own = torch.tensor([0, 3, 1, 1, 2, 0])
    total = 0.0
    for p, row, mine in zip(positive.tolist(), scores.tolist(), own.tolist(), strict=True):
        others = sum(math.exp(score / 0.2) for c, score in enumerate(row) if c != mine)
        total -= math.log(math.exp(p / 0.2) / (math.exp(p / 0.2) + others))
    loss = unmatched_contrast(positive, scores, own, 0.2)
    assert loss.item() == pytest.approx(total / 6)
    loss.backward()
    assert (positive.grad < 0).all()
    assert (scores.grad.gather(1, own[:, None]) == 0).all()
    assert (scores.grad.sum(1) > 0).all()


def test_with_the_own_prototype_as_the_positive_it_is_a_softmax_over_all_prototypes():
    scores = torch.linspace(-1, 1, 12).view(3, 4)
    own = torch.tensor([2, 0, 3])
    found = unmatched_contrast(scores[range(3), own], scores, own, 0.5)
    assert found.item() == pytest.approx(torch.nn.functional.cross_entropy(scores / 0.5, own).item())
