"""Ball operations against geoopt, plain formulas and known constants, in float64."""

import math

import pytest
import torch
from geoopt.manifolds.stereographic import math as geoopt
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from crosslens.nn.hyperbolic import (
    MobiusLinear,
    PoincareLinear,
    clip_length,
    exp0,
    in_tangent_space,
    largest_radius,
    log0,
    lorentz_coordinates,
    mobius_add,
    mobius_matvec,
    pairwise_distance,
)
from testing.golden import read_golden

GOLDEN = read_golden("tki")
C = GOLDEN["curvature"]


def point(number, length, dim=4):
    row = torch.tensor([math.sin(1.7 * number + 0.9 * j + 0.3) for j in range(dim)], dtype=torch.float64)
    return row * (length / row.norm())


def tangents(count, dim=6, seed=0, scale=0.5):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, dim, generator=generator, dtype=torch.float64) * scale


def k(c):
    return torch.tensor(-c, dtype=torch.float64)


def test_golden_values():
    x = torch.stack([exp0(point(i, 0.3 + 0.2 * i), C) for i in range(4)])
    y = torch.stack([exp0(point(i + 10, 0.5 + 0.4 * i), C) for i in range(3)])
    expected = torch.tensor(GOLDEN["distances"], dtype=torch.float64)
    assert torch.allclose(pairwise_distance(x, y, C), expected, atol=1e-10)
    assert mobius_add(x[:1], y[:1], C)[0].tolist() == pytest.approx(GOLDEN["mobius_add"], abs=1e-12)
    layer = MobiusLinear(4, 4, C).double()
    with torch.no_grad():
        layer.weight.copy_(torch.stack([point(i + 30, 1.2) for i in range(4)]))
        layer.bias.copy_(point(40, 0.4))
    assert layer(x[1:2])[0].tolist() == pytest.approx(GOLDEN["mobius_layer"], abs=1e-12)


def test_constants_of_the_ball():
    known = GOLDEN["constants"]
    unit = exp0(point(0, 1.0), 0.1).norm() * math.sqrt(0.1)
    clipped = exp0(point(0, 2.3), 0.1).norm() * math.sqrt(0.1)
    assert float(unit) == pytest.approx(known["ball_share_of_unit_vector"], abs=0.005)
    assert float(clipped) == pytest.approx(known["ball_share_of_2.3"], abs=0.005)
    assert largest_radius(1.0) == pytest.approx(known["edge_radius_times_root_c"], abs=5e-4)
    assert largest_radius(0.1) == pytest.approx(known["edge_radius_c_0.1"], abs=5e-3)


def test_float32_points_beyond_the_largest_radius_lie_on_one_shell():
    radius = largest_radius(0.1)
    lengths = [exp0(point(0, r).float(), 0.1).norm() for r in (0.99 * radius, 1.01 * radius, 3 * radius)]
    assert lengths[0] < lengths[1]
    assert float(lengths[1]) == pytest.approx(float(lengths[2]), rel=1e-6)


@pytest.mark.parametrize("c", [0.01, 0.1, 1.0])
def test_exp0_and_log0_are_inverse_and_stay_inside(c):
    v = tangents(50, scale=0.3)
    z = exp0(v, c)
    assert torch.allclose(log0(z, c), v, atol=1e-9)
    assert (c * z.square().sum(1) < 1).all()
    far = exp0(v * 1e4, c)
    assert (c * far.square().sum(1) < 1).all()


@pytest.mark.parametrize("c", [0.01, 0.1, 1.0])
def test_distances_equal_geoopt_the_lorentz_form_and_arcosh(c):
    x, y = exp0(tangents(12), c), exp0(tangents(9, seed=1), c)
    found = pairwise_distance(x, y, c)
    slow = torch.stack([geoopt.dist(row[None], y, k=k(c)) for row in x])
    assert torch.allclose(found, slow, atol=1e-9)
    assert torch.allclose(pairwise_distance(y, x, c), found.t())
    a, b = lorentz_coordinates(x, c), lorentz_coordinates(y, c)
    # The distance in Lorentz coordinates (docs/methods/tki.md), from these rows.
    time_a, time_b = (1 / math.sqrt(c) + 2 * math.sqrt(c) * rows[:, -1:] for rows in (a, b))
    inner = time_a @ time_b.t() - 4 * a[:, :-1] @ b[:, :-1].t()
    assert torch.allclose(torch.acosh((c * inner).clamp_min(1)) / math.sqrt(c), slow, atol=1e-7)
    # Each row lies on the hyperboloid <x, x>_L = -1/c.
    lengths = time_a[:, 0] ** 2 - 4 * a[:, :-1].square().sum(1)
    assert torch.allclose(lengths, torch.full((12,), 1 / c).double())
    heights = a[:, -1:] + b[:, -1] + 2 * c * a[:, -1:] * b[:, -1] - 2 * a[:, :-1] @ b[:, :-1].t()
    assert torch.allclose((torch.cosh(math.sqrt(c) * slow) - 1) / (2 * c), heights, rtol=1e-9)


@given(st.integers(0, 10_000))
def test_triangle_inequality(seed):
    z = exp0(tangents(3, seed=seed, scale=2.0), 0.1)
    d = pairwise_distance(z, z, 0.1)
    assert d[0, 2] <= d[0, 1] + d[1, 2] + 1e-3


def test_a_mobius_perceptron_without_biases_is_exp0_of_an_ordinary_one():
    torch.manual_seed(0)
    first, second = MobiusLinear(6, 5, 0.1).double(), MobiusLinear(5, 4, 0.1).double()
    bend = nn.LeakyReLU(0.1)
    v = tangents(20)
    mobius = second(in_tangent_space(bend, first(exp0(v, 0.1)), 0.1))
    ordinary = exp0(bend(v @ first.weight.t()) @ second.weight.t(), 0.1)
    assert torch.allclose(mobius, ordinary, atol=1e-9)
    with torch.no_grad():
        second.bias.fill_(0.3)
    moved = second(in_tangent_space(bend, first(exp0(v, 0.1)), 0.1))
    shifted = exp0(bend(v @ first.weight.t()) @ second.weight.t() + 0.3, 0.1)
    assert not torch.allclose(moved, shifted, atol=1e-3)


def test_mobius_matvec_is_a_matrix_in_tangent_space():
    weight, v = tangents(3, seed=2), tangents(7)
    assert torch.allclose(mobius_matvec(weight, exp0(v, 0.1), 0.1), exp0(v @ weight.t(), 0.1), atol=1e-10)


@pytest.mark.parametrize("c", [0.1, 1.0])
def test_hnnpp_coordinates_are_signed_distances_to_hyperplanes(c):
    torch.manual_seed(0)
    layer = PoincareLinear(6, 4, c).double()
    with torch.no_grad():
        layer.bias.copy_(torch.tensor([0.0, 0.2, -0.3, 0.5]))
    z = exp0(tangents(11, scale=0.2), c)
    length = layer.weight.norm(dim=1)
    normal = layer.weight / length[:, None]
    on_plane = exp0(normal * layer.bias[:, None], c)
    columns = []
    for number in range(4):
        signed = geoopt.dist2plane(z, on_plane[number], normal[number], k=k(c), signed=True)
        columns.append(torch.sinh(math.sqrt(c) * 2 * length[number] * signed) / math.sqrt(c))
    flat = torch.stack(columns, dim=1)
    expected = flat / (1 + torch.sqrt(1 + c * flat.square().sum(1, keepdim=True)))
    assert torch.allclose(layer(z), expected, atol=1e-9)


def test_clip_length_shortens_only_long_rows():
    v = torch.stack([point(0, 0.5), point(1, 2.0), point(2, 9.0), torch.zeros(4, dtype=torch.float64)])
    clipped = clip_length(v, 2.0)
    assert clipped.norm(dim=1).tolist() == pytest.approx([0.5, 2.0, 2.0, 0.0])
    assert torch.allclose(clipped[:2], v[:2])
    assert clip_length(v, None) is v


def test_gradients_are_finite_at_coincident_points_the_origin_and_the_clip_radius():
    rows = torch.stack([point(0, 1.0), point(0, 1.0), torch.zeros(4, dtype=torch.float64), point(1, 2.3)])
    rows = rows.float().requires_grad_(True)
    z = exp0(clip_length(rows, 2.3), 0.1)
    pairwise_distance(z, z, 0.1).sum().backward()
    assert torch.isfinite(rows.grad).all()
