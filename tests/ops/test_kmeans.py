import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans
from torch.nn import functional as F

from crosslens.ops.cluster_count import (
    candidate_counts,
    count_ladder,
    estimate_clusters,
    largest_distance_to_chord,
    two_segments,
)
from crosslens.ops.kmeans import concentration, kmeans, lloyd, spread_start
from crosslens.support.errors import TrainingError


def blobs(centres=6, each=40, dim=8, seed=0, spread=0.1):
    generator = torch.Generator().manual_seed(seed)
    means = F.normalize(torch.randn(centres, dim, generator=generator), dim=1)
    rows = means.repeat_interleave(each, 0) + spread * torch.randn(centres * each, dim, generator=generator)
    return rows, torch.arange(centres).repeat_interleave(each)


@pytest.mark.parametrize("algorithm", [kmeans, lloyd])
def test_finds_separated_blobs(algorithm):
    points, truth = blobs()
    found = algorithm(points, 6)
    for cluster in range(6):
        assert len(truth[found.assignments == cluster].unique()) == 1
    reference = KMeans(6, n_init=10, random_state=0).fit(points.numpy())
    assert found.objective == pytest.approx(reference.inertia_, rel=1e-4)


@pytest.mark.parametrize("algorithm", [kmeans, lloyd])
def test_assignments_are_the_nearest_plain_centroids(algorithm):
    points, _ = blobs(spread=0.5)
    found = algorithm(points, 5, seed=3)
    distances = torch.cdist(points, found.centroids)
    assert torch.equal(found.assignments, distances.argmin(1))
    assert found.objective == pytest.approx(float(distances.min(1).values.square().sum()), rel=1e-4)
    assert torch.allclose(found.prototypes.norm(dim=1), torch.ones(5), atol=1e-6)


@pytest.mark.parametrize("algorithm", [kmeans, lloyd])
def test_same_seed_same_clusters_and_more_restarts_never_worse(algorithm):
    points, _ = blobs(spread=0.8)
    once, again = algorithm(points, 7, seed=1), algorithm(points, 7, seed=1)
    assert torch.equal(once.assignments, again.assignments)
    one = algorithm(points, 7, seed=1, restarts=1)
    assert once.objective <= one.objective + 1e-3


def test_warm_start_keeps_the_clusters_it_is_given():
    points, truth = blobs()
    start = torch.stack([points[truth == c].mean(0) for c in range(6)])
    for algorithm in (kmeans, lloyd):
        assert torch.equal(algorithm(points, 6, start=start).assignments, truth)


def test_spread_first_centroids_find_every_far_blob():
    points, truth = blobs(20, 15, spread=0.001)
    for seed in range(20):
        start = spread_start(points, 20, torch.Generator().manual_seed(seed))
        at = torch.cdist(start, points).argmin(1)
        assert torch.equal(start, points[at])
        assert len(truth[at].unique()) == 20
    # One run from random points misses some.
    missed = [kmeans(points, 20, seed=s, restarts=1).objective for s in range(5)]
    found = [kmeans(points, 20, seed=s, restarts=1, first="k-means++").objective for s in range(5)]
    assert max(found) < 0.1 * min(missed)


def test_spread_first_centroids_are_drawn_by_squared_distance():
    points = torch.tensor([[0.0], [1.0], [3.0]])
    counts = torch.zeros(3)
    for seed in range(3000):
        first, second = spread_start(points, 2, torch.Generator().manual_seed(seed)).flatten().tolist()
        if first == 0:
            counts[[0.0, 1.0, 3.0].index(second)] += 1
    assert counts[0] == 0
    assert float(counts[2] / counts.sum()) == pytest.approx(0.9, abs=0.03)


def test_spread_first_centroids_of_equal_points_and_the_best_of_restarts():
    same = spread_start(torch.ones(5, 2), 3, torch.Generator().manual_seed(0))
    assert torch.equal(same, torch.ones(3, 2))
    points, _ = blobs(spread=0.8)
    one, best = (kmeans(points, 7, seed=1, restarts=r, first="k-means++") for r in (1, 6))
    assert best.objective < one.objective
    again = kmeans(points, 7, seed=1, restarts=6, first="k-means++")
    assert torch.equal(best.assignments, again.assignments)


def test_chunks_change_nothing():
    points, _ = blobs(spread=0.6)
    whole, parts = lloyd(points, 5, seed=2), lloyd(points, 5, seed=2, chunk=17)
    assert torch.equal(whole.assignments, parts.assignments)


def test_as_many_clusters_as_distinct_points_leave_none_empty():
    points = torch.eye(5)
    found = lloyd(points, 5, restarts=1)
    assert sorted(found.assignments.tolist()) == [0, 1, 2, 3, 4]


def test_bad_input_is_named():
    points = torch.randn(4, 3)
    with pytest.raises(TrainingError, match="5 clusters cannot be made of 4 images"):
        kmeans(points, 5)
    with pytest.raises(TrainingError, match="at least 1"):
        kmeans(points, 0)
    points[2, 1] = float("nan")
    with pytest.raises(TrainingError, match="1 of 4 features are NaN"):
        lloyd(points, 2)


def test_concentration_is_small_for_large_tight_clusters_and_has_the_mean_asked_for():
    tight, _ = blobs(1, 200, spread=0.01, seed=1)
    loose, _ = blobs(1, 20, spread=0.5, seed=2)
    points = torch.cat([tight, loose + 3])
    phi = concentration(points, kmeans(points, 2), 0.2)
    sizes = torch.bincount(kmeans(points, 2).assignments)
    assert phi[sizes.argmax()] < phi[sizes.argmin()]
    assert float(phi.mean()) == pytest.approx(0.2, rel=1e-5)


def test_elbow_of_a_bent_line():
    counts = list(range(2, 21))
    errors = [100 - 10 * (k - 2) if k <= 8 else 40 - 0.5 * (k - 8) for k in counts]
    assert two_segments(counts, errors) == 8
    assert largest_distance_to_chord(counts, errors) == 8


@pytest.mark.parametrize("centres", [4, 9])
def test_estimate_is_near_the_number_of_separated_blobs(centres):
    points, _ = blobs(centres, 60, dim=16, spread=0.05)
    # The two-segment elbow leans to more; a ladder of counts around it absorbs that.
    assert 0.7 * centres <= estimate_clusters(points) <= 1.6 * centres


def test_estimate_needs_points_and_candidates_stay_in_range():
    with pytest.raises(TrainingError, match="too few"):
        estimate_clusters(torch.randn(9, 4))
    assert candidate_counts(1000)[0] == 2
    assert candidate_counts(1000)[-1] == 150
    assert candidate_counts(60)[-1] == 12
    assert 31 not in candidate_counts(1000)


def test_ladder_is_sorted_distinct_and_bounded():
    assert count_ladder(13, 1000) == [6, 9, 13, 18, 26]
    assert count_ladder(2, 1000) == [2, 3, 4]
    assert max(count_ladder(100, 60)) == 12
    assert all(isinstance(count, int) for count in count_ladder(7, 100))
    assert np.diff(count_ladder(20, 1000)).min() > 0
