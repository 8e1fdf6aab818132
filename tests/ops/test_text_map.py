"""The closed-form map: golden values, primal and dual, leave-one-out by brute force, limits."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from crosslens.ops.text_map import (
    blend,
    choose_strength,
    leave_one_out_score,
    mean_shift_score,
    orthogonal_map,
    ridge_map,
    scaled_strength,
)
from crosslens.support.errors import ConfigError
from testing.golden import read_golden

GOLDEN = read_golden("clair")["map"]


def wordings(seed, classes=5, dim=8, shift=0.4):
    g = torch.Generator().manual_seed(seed)
    source = F.normalize(torch.randn(classes, dim, generator=g, dtype=torch.float64), dim=1)
    move = shift * torch.randn(dim, generator=g, dtype=torch.float64)
    target = F.normalize(source + move + 0.1 * torch.randn(classes, dim, generator=g, dtype=torch.float64), dim=1)
    return source, target


@pytest.mark.parametrize("strength", [0, 1])
def test_golden_maps(strength):
    source, target, expected = (
        torch.tensor(GOLDEN[key], dtype=torch.float64) for key in ("source", "target", str(strength))
    )
    assert torch.allclose(ridge_map(source, target, strength, solver="dual"), expected, atol=1e-12)


@given(st.integers(0, 300), st.sampled_from([0.01, 0.3, 1.0, 10.0]), st.sampled_from([(5, 8), (9, 6)]))
def test_primal_is_dual_and_stationary(seed, strength, shape):
    source, target = wordings(seed, *shape)
    dual = ridge_map(source, target, strength, solver="dual")
    assert torch.allclose(dual, ridge_map(source, target, strength, solver="primal"), atol=1e-9)
    assert torch.allclose(dual, ridge_map(source, target, strength), atol=1e-9)
    gradient = source.t() @ (source @ dual - target) + strength * (dual - torch.eye(shape[1]).double())
    assert float(gradient.abs().max()) < 1e-9


def test_limits_and_what_texts_do_not_span():
    source, target = wordings(0)
    eye = torch.eye(8, dtype=torch.float64)
    assert torch.allclose(ridge_map(source, target, 1e9), eye, atol=1e-7)
    assert torch.allclose(ridge_map(source, source, 0.3), eye, atol=1e-12)
    assert torch.allclose(source @ ridge_map(source, target, 1e-9), target, atol=1e-6)
    across = torch.linalg.svd(source)[2][len(source) :]
    assert torch.allclose(across @ ridge_map(source, target, 0.1), across, atol=1e-12)


@given(st.integers(0, 200), st.sampled_from([0.05, 1.0, 5.0]))
def test_leave_one_out_is_brute_force(seed, strength):
    source, target = wordings(seed)
    total = 0.0
    for left in range(len(source)):
        rest = [c for c in range(len(source)) if c != left]
        matrix = ridge_map(source[rest], target[rest], strength)
        total += float((source[left] @ matrix - target[left]).square().sum())
    expected = total / float((target - source).square().sum())
    assert leave_one_out_score(source, target, strength) == pytest.approx(expected, abs=1e-9)


def test_mean_shift_is_brute_force():
    source, target = wordings(3)
    delta = target - source
    errors = [delta[c] - torch.cat([delta[:c], delta[c + 1 :]]).mean(0) for c in range(len(delta))]
    expected = float(torch.stack(errors).square().sum() / delta.square().sum())
    assert mean_shift_score(source, target) == pytest.approx(expected)
    assert mean_shift_score(source, source) == 1
    assert leave_one_out_score(source, source, 1.0) == 1


@given(st.integers(0, 100))
def test_the_orthogonal_map_is_orthogonal_and_stable(seed):
    source, target = wordings(seed)
    matrix = orthogonal_map(source, target, 0.3)
    assert torch.allclose(matrix @ matrix.t(), torch.eye(8).double(), atol=1e-9)
    noise = 1e-10 * torch.randn(target.shape, generator=torch.Generator().manual_seed(seed)).double()
    assert torch.allclose(orthogonal_map(source, target + noise, 0.3), matrix, atol=1e-6)
    assert torch.allclose(orthogonal_map(source, source, 0.3), torch.eye(8).double(), atol=1e-9)


def test_the_orthogonal_map_solves_the_anchored_objective():
    source, target = wordings(5)

    def objective(matrix):
        eye = torch.eye(8, dtype=torch.float64)
        return float((source @ matrix - target).square().sum() + 0.3 * (matrix - eye).square().sum())

    best = orthogonal_map(source, target, 0.3)
    g = torch.Generator().manual_seed(0)
    for _ in range(50):
        turn = 0.1 * torch.randn(8, 8, generator=g, dtype=torch.float64)
        assert objective(best) <= objective(best @ torch.linalg.matrix_exp(turn - turn.t())) + 1e-12


def test_the_choice_prefers_a_map_that_transfers():
    # Class names share a direction, as real texts do; a linear map can turn that into a shift.
    source, _ = wordings(1, classes=40, dim=64)
    source = F.normalize(source + source.mean(0) * 40 / 6, dim=1)
    move = torch.randn(64, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    target = F.normalize(source + 0.05 * move, dim=1)
    scores = choose_strength(source, target)
    assert min(scores.values()) < 1
    assert scaled_strength(source, 2.0) == pytest.approx(2.0)
    assert scaled_strength(source.t(), 2.0) == pytest.approx(2.0 * 64 / 40)


def test_blending():
    source, target = wordings(2)
    matrix = ridge_map(source, target, 0.1)
    assert torch.equal(blend(matrix, 0.0), torch.eye(8).double())
    assert torch.allclose(blend(matrix, 1.0), matrix)


def test_bad_input_says_what_to_do():
    source, target = wordings(0)
    with pytest.raises(ConfigError, match="same class names in both"):
        ridge_map(source, target[:3], 1.0)
    with pytest.raises(ConfigError, match="0 or more"):
        ridge_map(source, target, -1.0)
    with pytest.raises(ConfigError, match="NaN"):
        ridge_map(source, target * float("nan"), 1.0)
    with pytest.raises(ConfigError, match="depend on each other"):
        ridge_map(torch.cat([source, source]), torch.cat([target, target]), 0.0, solver="dual")
