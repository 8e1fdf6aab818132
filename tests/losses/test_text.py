"""TKI's losses against slow formulas, golden values and their limits."""

import math

import pytest
import torch
from torch.nn import functional as F

from crosslens.losses.text import consistency, diversity, proxy_nca
from testing.golden import read_golden

GOLDEN = read_golden("tki")
INDEX = torch.tensor(GOLDEN["index"])
TAU = GOLDEN["temperature"]


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
    assert diversity(u[4:], u[:4]).item() == pytest.approx(GOLDEN["diversity_last"], abs=1e-12)
    assert diversity(u, u, torch.arange(5)).item() == pytest.approx(GOLDEN["diversity_joint"], abs=1e-12)
    for temperature, value in GOLDEN["consistency"].items():
        assert consistency(u[:4], t, INDEX, float(temperature)).item() == pytest.approx(value, abs=1e-10)


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
