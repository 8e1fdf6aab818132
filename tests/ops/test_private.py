import pytest
import torch
from torch.nn import functional as F

from crosslens.ops.matching import dissimilarity
from crosslens.ops.private import cluster_sides, detect_by_spread, detect_private
from crosslens.support.errors import TrainingError


def world(seed=0, shared=3, private=2, each=20, dim=16, noise=0.03):
    """Queries of shared and private classes, a gallery of the shared ones moved a little."""
    generator = torch.Generator().manual_seed(seed)
    centres = F.normalize(torch.randn(shared + private, dim, generator=generator), dim=1)

    def rows(classes, shift):
        labels = torch.arange(classes).repeat_interleave(each)
        points = centres[labels] + noise * torch.randn(len(labels), dim, generator=generator) + shift
        return F.normalize(points, dim=1), labels

    shift = 0.05 * torch.randn(dim, generator=generator)
    queries, labels = rows(shared + private, 0)
    return queries, rows(shared, shift)[0], labels >= shared


def test_clusters_without_a_counterpart_are_private():
    queries, gallery, private = world()
    found = detect_private(queries, gallery, (5, 3), merge_quantile=0.5)
    assert found.n_merged == 3
    assert torch.equal(found.private, private)
    assert torch.equal(found.unmerged, private)


@pytest.mark.parametrize("seed", range(5))
def test_the_second_test_never_fires_on_the_queries_it_was_made_from(seed):
    queries, gallery, _ = world(seed, noise=0.3)
    found = detect_private(queries, gallery, (5, 3), merge_quantile=1.0)
    assert found.n_merged > 0
    assert not found.far.any()


def test_a_quantile_can_fire_and_is_the_slow_formula():
    queries, gallery, _ = world(1, noise=0.3)
    fired = [
        int(detect_private(queries, gallery, (5, 3), merge_quantile=1.0, spread_quantile=q).far.sum())
        for q in (1.0, 0.2, 0.05)
    ]
    assert fired[0] == 0
    assert fired[0] <= fired[1] <= fired[2]
    assert fired[2] > 0
    nearest = dissimilarity(queries, gallery).min(1).values
    one = detect_private(queries, gallery, (1, 1), spread_quantile=0.1)
    width = torch.quantile(dissimilarity(queries, gallery).flatten(), 0.1)
    assert torch.equal(one.far, nearest > width)


def test_chunks_change_nothing():
    queries, gallery, _ = world(2, noise=0.3)
    whole = detect_private(queries, gallery, (5, 3), merge_quantile=1.0, spread_quantile=0.2)
    parts = detect_private(queries, gallery, (5, 3), merge_quantile=1.0, spread_quantile=0.2, chunk=7)
    assert torch.equal(whole.private, parts.private)


def test_clusters_at_hand_change_nothing():
    queries, gallery, _ = world(2, noise=0.3)
    sides = cluster_sides(queries, gallery, (5, 3))
    assert torch.equal(
        detect_private(queries, gallery, (5, 3), merge_quantile=1.0, clustered=sides).private,
        detect_private(queries, gallery, (5, 3), merge_quantile=1.0).private,
    )
    known = detect_by_spread(queries, gallery, 5, clustered=sides[0])
    assert torch.equal(known, detect_by_spread(queries, gallery, 5))


def test_without_a_merge_every_query_is_private():
    queries, gallery, _ = world()
    found = detect_private(queries, -gallery, (20, 20))
    assert found.n_merged == 0
    assert found.private.all()


def test_the_baselines_rule():
    queries, gallery, private = world(noise=0.05)
    assert torch.equal(detect_by_spread(queries, gallery, 5), private)
    with pytest.raises(TrainingError, match="empty"):
        detect_by_spread(queries, gallery[:0], 5)


def test_more_clusters_than_queries():
    queries, gallery, _ = world()
    with pytest.raises(TrainingError, match="cannot be made of"):
        detect_private(queries[:4], gallery, (5, 3))
