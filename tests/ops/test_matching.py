from itertools import permutations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from crosslens.ops.matching import (
    cross_neighbours,
    dissimilarity,
    merge_threshold,
    occupied,
    switchable_match,
    unify,
    vote_pairs,
)
from crosslens.support.errors import TrainingError
from testing.golden import read_golden

GOLDEN = read_golden("uem")["unify"]


def det(n, d, a, b, c):
    i = torch.arange(n, dtype=torch.float64)[:, None]
    j = torch.arange(d, dtype=torch.float64)[None, :]
    return F.normalize(torch.sin(a * i + b * j + c * i * j + 0.1), dim=1)


def random_case(seed, count_a, count_b, dim=6):
    generator = torch.Generator().manual_seed(seed)
    a, b = (torch.randn(n, dim, generator=generator, dtype=torch.float64) for n in (count_a, count_b))
    means = torch.randn(2, dim, generator=generator, dtype=torch.float64)
    return a, b, means[0], means[1]


def pairs_of(structure):
    at_b = {int(u): j for j, u in enumerate(structure.positions[1])}
    return sorted([i, at_b[int(u)]] for i, u in enumerate(structure.positions[0]) if int(u) in at_b)


def test_golden_pairs_and_threshold():
    a = 2 * det(4, 3, 0.7, 1.9, 0.4)
    mean_a, mean_b = torch.tensor([0.3, -0.2, 0.1]).double(), torch.tensor([-0.1, 0.4, 0.2]).double()
    b = torch.stack([a[1] + 0.05, a[3] - 0.04, torch.full((3,), 5.0).double()]) - (mean_a - mean_b)
    b[2] = 5
    found = unify((a, b), (mean_a, mean_b))
    assert pairs_of(found) == GOLDEN["pairs"]
    assert found.threshold == pytest.approx(GOLDEN["threshold"], abs=1e-6)


@given(seed=st.integers(0, 10_000), count_a=st.integers(1, 6), count_b=st.integers(1, 6), merge=st.booleans())
def test_one_index_space_for_both_domains(seed, count_a, count_b, merge):
    a, b, mean_a, mean_b = random_case(seed, count_a, count_b)
    found = unify((a, b), (mean_a, mean_b), merge=merge, quantile=0.5)
    assert torch.allclose(found.raw[1] + (mean_a - mean_b), found.raw[0])
    assert len(found.raw[0]) == count_a + count_b - found.n_merged
    for index in (found.positions[0], found.positions[1]):
        assert len(set(index.tolist())) == len(index)
    pairs = pairs_of(found)
    assert len(pairs) == found.n_merged
    assert {int(found.positions[0][i]) for i, _ in pairs} == set(found.merged.nonzero().squeeze(1).tolist())
    everyone = set(found.positions[0].tolist()) | set(found.positions[1].tolist())
    assert everyone == set(range(len(found.raw[0])))
    if not merge:
        assert not pairs


@given(seed=st.integers(0, 10_000), count_a=st.integers(2, 5), count_b=st.integers(2, 5))
def test_the_assignment_is_the_cheapest_and_swapping_domains_changes_nothing(seed, count_a, count_b):
    a, b, mean_a, mean_b = random_case(seed, count_a, count_b)
    found, swapped = unify((a, b), (mean_a, mean_b), quantile=0.5), unify((b, a), (mean_b, mean_a), quantile=0.5)
    assert pairs_of(found) == sorted([i, j] for j, i in pairs_of(swapped))
    assert found.threshold == pytest.approx(swapped.threshold)
    distances = torch.cdist(a, b + mean_a - mean_b)
    small, large = sorted((count_a, count_b))
    costs = distances if count_a <= count_b else distances.t()
    best = min(permutations(range(large), small), key=lambda p: sum(float(costs[i, p[i]]) for i in range(small)))
    close = [(i, j) for i, j in enumerate(best) if costs[i, j] < found.threshold]
    assert pairs_of(found) == sorted([i, j] if count_a <= count_b else [j, i] for i, j in close)


def test_merged_prototypes_are_the_mean_and_the_others_stay():
    a, b, mean_a, mean_b = random_case(0, 3, 3)
    b[1] = a[2] - (mean_a - mean_b)
    found = unify((a, b), (mean_a, mean_b))
    assert [2, 1] in pairs_of(found)
    for i, u in enumerate(found.positions[0]):
        partner = [j for k, j in pairs_of(found) if k == i]
        expected = (a[i] + b[partner[0]] + mean_a - mean_b) / 2 if partner else a[i]
        assert torch.allclose(found.raw[0][u], expected)


def test_identical_domains_merge_whole():
    a = torch.eye(6, dtype=torch.float64)
    order = torch.tensor([3, 1, 5, 0, 2, 4])
    found = unify((a, a[order]), (a.mean(0), a.mean(0)))
    assert found.n_merged == 6
    assert torch.equal(found.positions[1], found.positions[0][order])
    assert torch.equal(found.shifts[1], torch.zeros(6, dtype=torch.float64))


def test_one_split_cluster_stops_every_merge_and_a_quantile_helps():
    a = torch.eye(6, dtype=torch.float64)
    b = torch.cat([a + 0.05, (a[:1] + 0.0501)])
    assert unify((a, b), (a.mean(0), a.mean(0))).n_merged == 0
    assert unify((a, b), (a.mean(0), a.mean(0)), quantile=0.5).n_merged == 6


def test_one_cluster_each_has_no_threshold_and_none_is_an_error():
    one = torch.ones(1, 3)
    assert merge_threshold(one, one) == float("inf")
    assert unify((one, one + 4), (one[0], one[0] + 4)).n_merged == 1
    with pytest.raises(TrainingError, match="no cluster left"):
        unify((one[:0], one), (one[0], one[0]))
    with pytest.raises(TrainingError, match="NaN"):
        unify((one * float("nan"), one), (one[0], one[0]))


@given(seed=st.integers(0, 1000))
def test_dissimilarity_of_unit_rows_is_half_the_cubed_distance(seed):
    a, b, *_ = random_case(seed, 4, 5)
    a, b = F.normalize(a, dim=1), F.normalize(b, dim=1)
    found, distance = dissimilarity(a, b), torch.cdist(a, b)
    assert torch.allclose(found, distance**3 / 2, atol=1e-9)


def test_reliable_means_the_neighbour_belongs_to_the_counterpart():
    # Clusters 0 and 1 of A have the unified positions 1 and 0 in B.
    own = torch.eye(2, 4)
    prototypes = torch.eye(4)[[1, 0, 3]]
    bank = F.normalize(torch.tensor([[1.0, 0.1, 0, 0], [0.1, 0, 0, 1.0]]), dim=1)
    z = F.normalize(torch.tensor([[1.0, 0, 0, 0], [0.0, 0.4, 0, 0.5]]), dim=1)
    positions = dissimilarity(bank, prototypes).argmin(1)
    found = switchable_match(z, own, torch.tensor([1, 0]), bank, positions)
    assert found.target.tolist() == [1, 0]
    assert found.neighbour.tolist() == [0, 1]
    assert found.reliable.tolist() == [True, False]
    assert torch.equal(found.neighbour, dissimilarity(z, bank).argmin(1))


def test_rows_of_any_length_are_searched_by_the_dissimilarity():
    bank, z, *_ = random_case(5, 40, 60)
    z = F.normalize(z, dim=1)
    own, index, positions = torch.eye(6)[:2].double(), torch.tensor([0, 1]), torch.zeros(40, dtype=torch.int64)
    slow = torch.tensor([min(range(40), key=lambda j: float(dissimilarity(x[None], bank[j : j + 1]))) for x in z])
    found = switchable_match(z, own, index, bank, positions, unit_bank=False).neighbour
    assert torch.equal(found, slow)
    assert not torch.equal(found, switchable_match(z, own, index, bank, positions).neighbour)
    unit = F.normalize(bank, dim=1)
    pair = [switchable_match(z, own, index, unit, positions, unit_bank=u).neighbour for u in (True, False)]
    assert torch.equal(*pair)


def test_cross_neighbours_in_chunks_are_the_slow_formula():
    a, b, *_ = random_case(3, 17, 23)
    a, b = F.normalize(a, dim=1), F.normalize(b, dim=1)
    cosines = a @ b.t()
    near_a = torch.stack([row.sort(descending=True).values[:4].mean() for row in cosines])
    near_b = torch.stack([row.sort(descending=True).values[:4].mean() for row in cosines.t()])
    scaled = 2 * cosines - near_a[:, None] - near_b[None]
    of_a, of_b = cross_neighbours(a, b, hub=4, chunk=5)
    assert torch.equal(of_a, scaled.argmax(1))
    assert torch.equal(of_b, scaled.argmax(0))


def test_votes_pair_clusters_that_choose_each_other():
    in_a = torch.tensor([0, 0, 0, 1, 1, 2])
    in_b = torch.tensor([0, 0, 1, 1, 2])
    of_a = torch.tensor([2, 3, 0, 0, 1, 2])  # clusters 1 1 0 | 0 0 | 1
    of_b = torch.tensor([3, 4, 0, 1, 0])  # clusters 1 1 | 0 0 | 0
    chosen = vote_pairs(in_a, in_b, (of_a, of_b))
    assert torch.stack(chosen, 1).tolist() == [[0, 1], [1, 0]]


def test_clusters_without_members_leave():
    assignments, centroids = occupied(torch.tensor([3, 0, 3, 5]), torch.arange(12.0).view(6, 2))
    assert assignments.tolist() == [1, 0, 1, 2]
    assert torch.equal(centroids, torch.tensor([[0.0, 1], [6, 7], [10, 11]]))


@given(seed=st.integers(0, 2000), sizes=st.lists(st.integers(1, 5), min_size=2, max_size=5), common=st.booleans())
def test_several_domains_share_one_index_space(seed, sizes, common):
    torch.manual_seed(seed)
    centroids = [torch.randn(size, 4, dtype=torch.float64) for size in sizes]
    means = [torch.randn(4, dtype=torch.float64) for _ in sizes]
    found = unify(centroids, means, quantile=0.7, common=common)
    members = [[] for _ in found.merged]
    for own, position, shift in zip(centroids, found.positions, found.shifts, strict=True):
        assert len(set(position.tolist())) == len(position)
        for row, place in zip(own, position.tolist(), strict=True):
            members[place].append(row + shift)
    # Every prototype is the mean of its clusters in the first frame, and no place is empty.
    assert torch.allclose(found.raw[0], torch.stack([torch.stack(rows).mean(0) for rows in members]))
    assert found.merged.tolist() == [len(rows) > 1 for rows in members]
    for raw, shift, mean in zip(found.raw, found.shifts, means, strict=True):
        assert torch.allclose(raw + shift, found.raw[0])
        assert torch.allclose(shift, torch.zeros(4).double() if common else means[0] - mean)


def test_a_third_domain_merges_with_either_of_the_first_two():
    a, b = torch.eye(5, dtype=torch.float64)[:2], torch.eye(5, dtype=torch.float64)[2:4]
    mean = torch.zeros(5, dtype=torch.float64)
    found = unify((a, b, torch.cat([b[1:], a[:1]])), (mean, mean, mean))
    assert found.positions[2].tolist() == [3, 0]
    assert found.merged.tolist() == [True, False, False, True]
