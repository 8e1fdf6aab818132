"""TKI's losses against slow formulas, golden values and their limits."""

import math

import pytest
import torch
from torch.nn import functional as F

from crosslens.losses.text import arcface, consistency, diversity, proxy_anchor, proxy_nca, relation_keeping
from crosslens.nn.hyperbolic import exp0, pairwise_distance
from testing.golden import read_golden

GOLDEN = read_golden("tki")
INDEX = torch.tensor(GOLDEN["index"])
C, TAU = GOLDEN["curvature"], GOLDEN["temperature"]


def point(number, length=1.0, dim=4):
    row = torch.tensor([math.sin(1.7 * number + 0.9 * j + 0.3) for j in range(dim)], dtype=torch.float64)
    return row * (length / row.norm())


@pytest.fixture
def distances():
    return torch.tensor(GOLDEN["distances"], dtype=torch.float64)


@pytest.fixture
def u():
    return torch.stack([point(i) for i in range(5)])


@pytest.fixture
def t():
    return torch.stack([point(i + 20) for i in range(3)])


def test_golden_values(distances, u, t):
    assert proxy_nca(distances, INDEX, TAU).item() == pytest.approx(GOLDEN["proxy_nca"], abs=1e-10)
    margin = proxy_nca(distances, INDEX, TAU, margin=0.3).item()
    assert margin == pytest.approx(GOLDEN["proxy_nca_margin_0.3"], abs=1e-10)
    assert proxy_anchor(distances, INDEX).item() == pytest.approx(GOLDEN["proxy_anchor"], abs=1e-9)
    assert diversity(u[4:], u[:4]).item() == pytest.approx(GOLDEN["diversity_last"], abs=1e-12)
    assert diversity(u, u, torch.arange(5)).item() == pytest.approx(GOLDEN["diversity_joint"], abs=1e-12)
    for temperature, value in GOLDEN["consistency"].items():
        assert consistency(u[:4], t, INDEX, float(temperature)).item() == pytest.approx(value, abs=1e-10)
    assert arcface(u[:4] @ t.t(), INDEX).item() == pytest.approx(GOLDEN["arcface"], abs=1e-10)
    p = exp0(t, C)
    found = relation_keeping(t, pairwise_distance(p, p, C), TAU).item()
    assert found == pytest.approx(GOLDEN["relation"], abs=1e-9)


def test_diversity_without_others_and_of_orthogonal_and_opposite_words():
    one = F.normalize(torch.randn(1, 6), dim=1).requires_grad_(True)
    loss = diversity(one, torch.zeros(0, 6))
    assert loss.item() == 0
    loss.backward()
    assert diversity(torch.eye(6), torch.eye(6), torch.arange(6)).item() == 0
    assert diversity(-one, one.detach()).item() == pytest.approx(1)
    assert diversity(one, one.detach(), torch.tensor([0])).item() == 0


def test_diversity_falls_when_it_is_minimised():
    torch.manual_seed(0)
    words = torch.nn.Parameter(torch.randn(8, 16) + 2)
    optimizer = torch.optim.Adam([words], 0.05)
    first = None
    for _ in range(50):
        unit = F.normalize(words, dim=1)
        loss = diversity(unit, unit, torch.arange(8))
        first = first or loss.item()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.3 * first


def test_consistency_at_temperature_one_of_300_classes_is_almost_log_300():
    generator = torch.Generator().manual_seed(0)
    t = F.normalize(torch.randn(300, 64, generator=generator), dim=1)
    u = F.normalize(t + 0.05 * torch.randn(300, 64, generator=generator), dim=1)
    flat = consistency(u, t, torch.arange(300)).item()
    assert flat == pytest.approx(GOLDEN["constants"]["log_300"] - 1, abs=0.2)
    assert consistency(u, t, torch.arange(300), 0.01).item() < 0.01


def test_proxy_anchor_leaves_classes_without_texts_out_of_its_first_term(distances):
    index = torch.zeros(4, dtype=torch.long)
    scaled = distances / distances.mean()
    near = math.log1p(sum(math.exp(32 * (d - 0.1)) for d in scaled[:, 0].tolist()))
    far = sum(math.log1p(sum(math.exp(-32 * (d + 0.1)) for d in scaled[:, n].tolist())) for n in (1, 2)) / 3
    assert proxy_anchor(distances, index).item() == pytest.approx(near + far, rel=1e-9)


def test_relation_keeping_is_zero_only_for_kept_neighbourhoods(t):
    kept = relation_keeping(t, -(t @ t.t()) / 0.05 * 0.3, 0.3)
    assert kept.item() == pytest.approx(0, abs=1e-9)
    turned = relation_keeping(t, (t @ t.t()) / 0.05 * 0.3, 0.3)
    assert turned.item() > 0.1


def test_arcface_gradient_is_finite_at_the_poles():
    cosines = torch.tensor([[1.0, -1.0, 0.0]], requires_grad=True)
    arcface(cosines, torch.tensor([0])).backward()
    assert torch.isfinite(cosines.grad).all()
