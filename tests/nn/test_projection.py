"""The universal projection: its geometries, its bounded radius, vectors whose inner product ranks by distance."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from crosslens.nn.hyperbolic import exp0, log0, mobius_add
from crosslens.nn.projection import Projection, ProjectionShape
from crosslens.nn.similarity import WIDEST, Similarity
from crosslens.search.query.query import mix

GEOMETRIES = ("mobius", "hnnpp", "euclid_exp", "euclid")


def project(geometry="mobius", seed=0, **options):
    torch.manual_seed(seed)
    options = {"start": "random"} | options
    projection = Projection(ProjectionShape(geometry=geometry, sizes=(8, 8, 8), **options))
    with torch.no_grad():
        for name, parameter in projection.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(std=0.2)
    return projection


def rows(count, seed=1):
    return torch.randn(count, 8, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("geometry", GEOMETRIES[:3])
@pytest.mark.parametrize("c", [0.1, 1.0])
def test_outputs_stay_inside_the_radius_however_large_the_weights(geometry, c):
    projection = project(geometry, curvature=c, radius_out=0.7)
    with torch.no_grad():
        for parameter in projection.parameters():
            parameter.mul_(20)
    with torch.no_grad():
        lengths = log0(projection(rows(50)), c).norm(dim=1)
    assert float(lengths.max()) == pytest.approx(0.7, rel=1e-4)


def test_unbounded_outputs_are_kept_within_what_ranks_exactly():
    shape = ProjectionShape(sizes=(8, 8), curvature=0.25, radius_out=None)
    assert shape.largest_output == shape.widest == 4.0
    assert shape.model_copy(update={"radius_out": 9.0}).largest_output == 4.0
    assert shape.model_copy(update={"radius_out": 3.0}).largest_output == 3.0


def test_a_bound_found_in_training_shortens_only_what_is_beyond_twice_the_farthest():
    projection = project(radius_out=2.3)
    with torch.no_grad():
        before = log0(projection(rows(50)), 0.1)
        lengths = before.norm(dim=1)
        middle = float(lengths.median()) / 2
        projection.bound(middle)
        after = log0(projection(rows(50)), 0.1)
    assert projection.shape.similarity.radius == projection.shape.reach == 2 * middle
    kept = lengths <= 2 * middle
    assert 0 < int(kept.sum()) < 50
    assert torch.allclose(after[kept], before[kept], atol=1e-6)
    assert torch.allclose(after.norm(dim=1)[~kept], torch.tensor(2 * middle), rtol=1e-5)
    bounded = project(radius_out=1.0)
    bounded.bound(0.8)
    assert bounded.shape.reach is None


def test_the_length_of_an_input_does_not_matter():
    projection = project()
    assert torch.allclose(projection(rows(5)), projection(rows(5) * 7), atol=1e-6)


def test_euclid_exp_is_a_perceptron_put_into_the_ball():
    projection = project("euclid_exp")
    first, second = projection.layers
    v = second(F.leaky_relu(first(F.normalize(rows(9), dim=1)), 0.1))
    v = v * (1 / v.norm(dim=1, keepdim=True)).clamp_max(1)
    assert torch.allclose(projection(rows(9)), exp0(v, 0.1), atol=1e-6)


def test_mobius_without_biases_equals_euclid_exp_with_the_same_weights():
    mobius, flat = project("mobius"), project("euclid_exp")
    with torch.no_grad():
        for a, b in zip(mobius.layers, flat.layers, strict=True):
            a.bias.zero_()
            b.bias.zero_()
            b.weight.copy_(a.weight)
    assert torch.allclose(mobius(rows(9)), flat(rows(9)), atol=1e-6)
    assert mobius.bias_length() == 0


def test_euclid_gives_unit_rows_and_squared_distances():
    projection = project("euclid")
    a, b = projection(rows(4)), projection(rows(3, seed=2))
    assert torch.allclose(a.norm(dim=1), torch.ones(4), atol=1e-6)
    assert torch.allclose(projection.distance(a, b), torch.cdist(a, b).square(), atol=1e-5)
    assert torch.allclose(projection.encode(rows(4)), a, atol=1e-6)
    assert projection.shape.similarity == Similarity()


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize(("c", "radius"), [(0.1, 1.0), (1.0, 1.0), (0.1, 2.3)])
def test_inner_products_of_encoded_rows_rank_by_distance(geometry, c, radius):
    projection = project(geometry, curvature=c, radius_out=radius).double()
    queries, gallery = rows(20).double(), rows(400, seed=2).double()
    with torch.no_grad():
        distances = projection.distance(projection(queries), projection(gallery)).numpy()
        items = projection.encode(gallery).float().numpy()
        asked = projection.shape.similarity.as_queries(projection.encode(queries).float().numpy())
    assert items.shape == (400, projection.dim)
    assert np.allclose(np.linalg.norm(items, axis=1), 1, atol=1e-6)
    order = np.argsort(-(asked @ items.T), axis=1, kind="stable")
    ranked = np.take_along_axis(distances, order, axis=1)
    # In exact order but for distances that float32 cannot tell apart.
    assert (np.diff(ranked, axis=1) > -1e-4).all()


def test_scores_are_the_formula_of_the_distance():
    projection = project()
    similarity = projection.shape.similarity
    with torch.no_grad():
        z = projection(rows(30)).double()
        stored = similarity.rows(z).numpy()
        d = projection.distance(z, z).numpy()
    scores = similarity.as_queries(stored) @ stored.T
    root = np.sqrt(0.1)
    expected = 1 - 2 * (np.cosh(root * d) - 1) / (np.cosh(root * 4 * 1.0) - 1)
    assert np.allclose(scores, expected, atol=1e-5)
    assert scores.diagonal() == pytest.approx(np.ones(30), abs=1e-5)
    ends = exp0(torch.tensor([[1.0, 0.0], [-1.0, 0.0]], dtype=torch.float64), 0.1)
    stored = similarity.rows(ends).numpy()
    assert (similarity.as_queries(stored) @ stored.T)[0, 1] == pytest.approx(-1, abs=1e-5)


@settings(max_examples=40, deadline=None)
@given(
    st.floats(-5, 1.5),
    st.floats(-3, 0),
    st.floats(0.05, 0.95),
    st.sampled_from([8, 384]),
    st.integers(0, 10_000),
)
def test_the_index_ranks_as_distances_for_every_curvature_and_radius(log_c, log_reach, least, dim, seed):
    """Float32 rows against float64 distances, from flat to the widest ball, for points of varying radius."""
    c, generator = 10**log_c, torch.Generator().manual_seed(seed)
    radius = WIDEST * 10**log_reach / math.sqrt(c)
    lengths = radius * (least + (1 - least) * torch.rand(420, 1, generator=generator))
    z = exp0(F.normalize(torch.randn(420, dim, generator=generator), dim=1) * lengths, c)
    similarity = Similarity(kind="lorentz", curvature=c, radius=radius)
    stored = similarity.rows(z).numpy()
    assert np.allclose(np.linalg.norm(stored, axis=1), 1, atol=1e-6)
    scores = similarity.as_queries(stored[:20]) @ stored[20:].T
    assert np.abs(scores).max() <= 1 + 1e-5
    # In units of the largest distance there is; the direct float32 distance is no better than 1e-6 of it.
    far = 4 * radius
    distances = pairwise_exactly(z[:20].double(), z[20:].double(), c).numpy() / far
    order = np.argsort(-scores, axis=1, kind="stable")
    assert np.diff(np.take_along_axis(distances, order, axis=1), axis=1).min() > -1e-4
    best = np.argsort(distances, axis=1)[:, :10]
    common = [len({*a, *b}) for a, b in zip(best.tolist(), order[:, :10].tolist(), strict=True)]
    assert np.mean(common) <= 10.1


def pairwise_exactly(x, y, c):
    """``pairwise_distance`` by differences, which coincident points leave at 0."""
    squared = (x[:, None] - y[None]).square().sum(2)
    ratio = c * squared / ((1 - c * x.square().sum(1))[:, None] * (1 - c * y.square().sum(1)))
    return 2 / math.sqrt(c) * torch.asinh(torch.sqrt(ratio))


def test_points_of_one_length_rank_as_by_cosine():
    directions = F.normalize(rows(60).double(), dim=1)
    stored = Similarity(kind="lorentz", curvature=0.1, radius=1.0).rows(exp0(directions * 0.8, 0.1)).numpy()
    scores = Similarity(kind="lorentz", curvature=0.1, radius=1.0).as_queries(stored) @ stored.T
    cosines = (directions @ directions.t()).numpy()
    assert np.array_equal(np.argsort(-scores, axis=1)[:, :20], np.argsort(-cosines, axis=1)[:, :20])


@pytest.mark.parametrize("weights", [(0.7, 0.3), (1.0, -0.5), (2.0, 2.0)])
def test_a_weighted_mix_of_stored_rows_scores_the_weighted_mean(weights):
    similarity = Similarity(kind="lorentz", curvature=0.1, radius=1.0)
    lengths = torch.linspace(0.1, 1, 50, dtype=torch.float64)[:, None]
    stored = similarity.rows(exp0(F.normalize(rows(50).double(), dim=1) * lengths, 0.1)).float().numpy()
    chosen = stored[[40, 3]]
    scores = similarity.as_queries(chosen) @ stored.T
    expected = (weights[0] * scores[0] + weights[1] * scores[1]) / sum(map(abs, weights))
    asked = mix(chosen, weights, similarity)
    assert np.linalg.norm(asked) == pytest.approx(1, abs=1e-6)
    found = (similarity.as_queries(asked[None]) @ stored.T)[0]
    assert np.allclose(found, expected, atol=1e-5)
    assert np.abs(found).max() <= 1 + 1e-6


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_the_residual_start_is_the_space_itself_whatever_bends(geometry):
    shape = ProjectionShape(geometry=geometry, sizes=(8, 8, 8), slope=0.0)
    projection = Projection(shape)
    unit = F.normalize(rows(9), dim=1)
    with torch.no_grad():
        found = projection.tangent(projection(rows(9)))
        # Next to nothing is added, but not nothing, so that all weights learn.
        assert torch.allclose(found, unit, atol=0.02)
        assert not torch.equal(found, unit)
    projection.distance(projection(rows(9)), projection(rows(9, seed=2))).sum().backward()
    assert all((parameter.grad.abs() > 0).any() for parameter in projection.parameters())


def test_the_residual_adds_in_the_ball_or_in_the_flat():
    ball, flat = project("mobius", start="residual"), project("euclid_exp", start="residual")
    within = exp0(F.normalize(rows(9), dim=1), 0.1)
    perceptron = Projection(ball.shape.model_copy(update={"start": "random", "radius_out": None}))
    perceptron.load_state_dict(ball.state_dict())
    expected = log0(mobius_add(within, perceptron(rows(9)), 0.1), 0.1)
    expected = expected * (1 / expected.norm(dim=1, keepdim=True)).clamp_max(1)
    assert torch.allclose(log0(ball(rows(9)), 0.1), expected, atol=1e-5)
    first, second = flat.layers
    unit = F.normalize(rows(9), dim=1)
    v = unit + second(F.leaky_relu(first(unit), 0.1))
    assert torch.allclose(flat(rows(9)), exp0(v * (1 / v.norm(dim=1, keepdim=True)).clamp_max(1), 0.1), atol=1e-6)


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_a_residual_into_fewer_numbers_begins_as_an_orthogonal_map(geometry):
    projection = Projection(ProjectionShape(geometry=geometry, sizes=(8, 8, 4)))
    across = projection.shortcut
    assert torch.allclose(across @ across.t(), torch.eye(4), atol=1e-5)
    with torch.no_grad():
        expected = F.normalize(rows(9), dim=1) @ across.t()
        found = projection.tangent(projection(rows(9)))
    expected = F.normalize(expected, dim=1) if geometry == "euclid" else expected
    assert torch.allclose(found, expected, atol=0.02)


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_the_identity_start_keeps_directions_and_lengths(geometry):
    shape = ProjectionShape(geometry=geometry, sizes=(8, 8, 8), slope=1.0, curvature=0.01, start="identity")
    projection = Projection(shape)
    with torch.no_grad():
        found = projection.tangent(projection(rows(9)))
    # HNN++ layers change coordinates a little even so.
    assert torch.allclose(found, F.normalize(rows(9), dim=1), atol=0.02 if geometry == "hnnpp" else 1e-5)
    narrow = ProjectionShape(geometry="euclid_exp", sizes=(8, 8, 4), slope=1.0, radius_out=None, start="identity")
    narrow = Projection(narrow)
    with torch.no_grad():
        assert (narrow.tangent(narrow(rows(9))).norm(dim=1) <= 1 + 1e-5).all()
    random = Projection(shape.model_copy(update={"start": "random"}))
    assert not torch.allclose(random.layers[0].weight, projection.layers[0].weight)


def test_ranking_by_cosine_stores_the_directions():
    projection = project(ranking="cosine")
    with torch.no_grad():
        found = projection.encode(rows(6))
        assert torch.allclose(found, F.normalize(log0(projection(rows(6)), 0.1), dim=1), atol=1e-6)
    assert projection.dim == 8
    assert projection.shape.similarity == Similarity()


def test_one_layer_and_too_few_widths():
    assert Projection(ProjectionShape(sizes=(8, 3)))(rows(2)).shape == (2, 3)
    with pytest.raises(ValueError, match="at least an input and an output"):
        Projection(ProjectionShape(sizes=(8,)))
