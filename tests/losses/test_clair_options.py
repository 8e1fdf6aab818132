"""CLAIR's optional losses against slow formulas, in float64."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from crosslens.losses.inter_cluster import class_prototypes, prototype_separation
from crosslens.losses.text_contexts import text_consistency, text_contrast


def problem(seed, images=14, batch=6, classes=4, dim=5):
    g = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return F.normalize(torch.randn(*shape, generator=g, dtype=torch.float64), dim=1)

    bank, q, keys = draw(images, dim), draw(batch, dim), draw(batch, dim)
    labels = torch.randint(0, classes, (images,), generator=g)
    weights = torch.rand(images, generator=g, dtype=torch.float64)
    weights[torch.rand(images, generator=g) < 0.4] = 0
    index = torch.randperm(images, generator=g)[:batch]
    bank[index] = keys
    return q, keys, bank, index, labels, weights


@given(st.integers(0, 300), st.sampled_from([0.1, 1.0]))
def test_prototype_separation_is_the_slow_formula(seed, temperature):
    q, _, bank, index, labels, weights = problem(seed)
    prototypes = class_prototypes(bank, labels, weights, 5)
    own, w = labels[index], weights[index]
    values = []
    for c in range(5):
        if not float(w[own == c].sum()):
            continue
        centroid = F.normalize((w[own == c, None] * q[own == c]).sum(0), dim=0)
        others = [m for k, m in enumerate(prototypes) if k != c and float(m.abs().sum())]
        if others:
            mean = sum(math.exp(float(centroid @ m) / temperature) for m in others) / len(others)
            values.append(math.log(mean))
    expected = sum(values) / len(values) if values else 0.0
    found = prototype_separation(q, prototypes, own, w, temperature)
    assert float(found) == pytest.approx(expected, abs=1e-9)
    assert abs(float(found)) <= 1 / temperature + 1e-9


def test_separation_falls_as_classes_part():
    eye = torch.eye(3, dtype=torch.float64)
    labels, ones = torch.arange(3), torch.ones(3, dtype=torch.float64)
    q = eye.clone().requires_grad_(True)
    near = prototype_separation(F.normalize(q + 1, dim=1), eye, labels, ones, 0.2)
    apart = prototype_separation(eye, eye, labels, ones, 0.2)
    assert float(apart) == 0 < float(near.detach())
    near.backward()
    assert torch.isfinite(q.grad).all()
    alone = prototype_separation(eye[:1], eye * (labels == 0)[:, None], labels[:1], ones[:1])
    assert float(alone) == 0


@given(st.integers(0, 200))
def test_text_contrast_is_the_slow_formula_and_reaches_both_sides(seed):
    q, _, bank, index, labels, weights = problem(seed)
    texts = bank[:4].clone().requires_grad_(True)
    own, w = labels[index], weights[index]
    q = q.requires_grad_(True)
    found = text_contrast(q, texts, own, w, 0.3)
    total = mass = 0.0
    for i in range(len(q)):
        shares = torch.softmax(q[i] @ texts.t() / 0.3, dim=0)
        total -= float(w[i]) * math.log(float(shares[own[i]].detach()))
        mass += float(w[i])
    assert float(found.detach()) == pytest.approx(total / mass if mass else 0.0, abs=1e-9)
    if mass:
        found.backward()
        assert float(q.grad.abs().sum()) > 0
        assert float(texts.grad.abs().sum()) > 0


def test_text_consistency_is_the_mean_distance_to_the_written_texts():
    texts = torch.tensor([[1.0, 0.0], [0.6, 0.8]], requires_grad=True)
    written = torch.tensor([[1.0, 0.0], [1.0, 0.0]], requires_grad=True)
    loss = text_consistency(texts, written)
    assert float(loss.detach()) == pytest.approx(0.2)
    loss.backward()
    assert written.grad is None
