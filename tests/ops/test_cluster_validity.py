import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans
from sklearn.metrics import silhouette_score
from torch.nn import functional as F

from crosslens.ops.cluster_count import METHODS, estimate_clusters
from crosslens.ops.cluster_validity import best_silhouette, gap_statistic
from crosslens.support.errors import ConfigError, TrainingError


def blobs(centres, each=30, dim=16, spread=0.02, seed=0):
    generator = torch.Generator().manual_seed(seed)
    means = F.normalize(torch.randn(centres, dim, generator=generator), dim=1)
    return means.repeat_interleave(each, 0) + spread * torch.randn(centres * each, dim, generator=generator)


@pytest.mark.parametrize("centres", [3, 4])
@pytest.mark.parametrize("method", ["silhouette", "gap"])
def test_separated_blobs_are_counted(method, centres):
    assert estimate_clusters(blobs(centres), method=method) == centres


def test_silhouette_is_the_reference_librarys():
    points = blobs(4, spread=0.1)
    counts = [2, 3, 4, 5, 6]
    scores = [
        silhouette_score(points.numpy(), KMeans(k, n_init=10, random_state=0).fit_predict(points.numpy()))
        for k in counts
    ]
    assert best_silhouette(points, counts) == counts[int(np.argmax(scores))]


def test_gap_of_one_cloud_is_its_smallest_count():
    points = torch.rand(300, 2, generator=torch.Generator().manual_seed(0))
    assert gap_statistic(points, [1, 2, 3, 4]) == 1


def test_equal_points_and_unknown_ways():
    with pytest.raises(TrainingError, match="no two clusters"):
        best_silhouette(torch.ones(20, 3), [2, 3])
    with pytest.raises(ConfigError, match="two-segments, chord, silhouette, gap"):
        estimate_clusters(torch.rand(20, 3), method="guess")
    for method in METHODS:
        with pytest.raises(TrainingError, match="too few"):
            estimate_clusters(torch.rand(9, 3), method=method)
