import pytest
import torch
from torch.nn import functional as F

from crosslens.labels.pseudo_labels import calibrated
from crosslens.labels.spread import agrees, neighbour_graph, spread, spread_labels


def two_looks(seed=0, images=120, classes=4, dim=16, noise=(0.6, 2.5)):
    """Two domains whose classes lie together; scores are noisy, in the second domain very."""
    g = torch.Generator().manual_seed(seed)
    centres = torch.randn(classes, dim, generator=g)
    labels, features, scores = [], [], []
    for level in noise:
        y = torch.randint(0, classes, (images,), generator=g)
        x = centres[y] + 0.6 * torch.randn(images, dim, generator=g)
        labels.append(y)
        features.append(F.normalize(x - x.mean(0), dim=1))
        s = F.one_hot(y, classes) + level * torch.randn(images, classes, generator=g)
        scores.append(calibrated(s, "standardise"))
    return labels, features, scores


def accuracy(scores, labels):
    return float((scores.argmax(1) == labels).float().mean())


@pytest.mark.parametrize("seed", range(4))
def test_spreading_rights_wrong_labels(seed):
    labels, features, scores = two_looks(seed)
    alone, _ = spread_labels(features, scores, rounds=0)
    both, takes = spread_labels(features, scores)
    assert takes[1]
    for number in (0, 1):
        before = accuracy(scores[number], labels[number])
        assert accuracy(alone[number], labels[number]) > before + 0.05
    # The domain with poor names learns from the one with good names.
    assert accuracy(both[1], labels[1]) >= accuracy(alone[1], labels[1])
    assert accuracy(both[1], labels[1]) > accuracy(scores[1], labels[1]) + 0.3


@pytest.mark.parametrize("seed", range(4))
def test_a_look_that_inverts_the_other_is_left_to_itself(seed):
    labels, features, scores = two_looks(seed, noise=(0.6, 1.0))
    inverted = [features[0], -features[1]]
    found, takes = spread_labels(inverted, scores)
    assert takes == [False, False]
    alone, _ = spread_labels(inverted, scores, rounds=0)
    for number in (0, 1):
        assert torch.equal(found[number], alone[number])
        assert accuracy(found[number], labels[number]) > 0.6


def test_agreement_beyond_chance():
    g = torch.Generator().manual_seed(0)
    scores = torch.randn(400, 4, generator=g)
    assert agrees(scores, scores)
    assert not agrees(scores, torch.randn(400, 4, generator=g))
    assert not agrees(scores, -scores)
    # Everything in one class agrees by chance alone.
    same = torch.zeros(400, 4)
    assert not agrees(same, same)


def test_the_graph_is_the_slow_one():
    rows = F.normalize(torch.randn(15, 5, generator=torch.Generator().manual_seed(0)), dim=1)
    s = torch.exp(rows @ rows.t() / 0.1)
    chosen = torch.zeros(15, 15)
    for i in range(15):
        order = [j for j in (rows[i] @ rows.t()).argsort(descending=True).tolist() if j != i]
        chosen[i, order[:3]] = 1
    w = s * torch.maximum(chosen, chosen.t())
    degree = w.sum(1).rsqrt()
    expected = degree[:, None] * w * degree
    for chunk in (4, 100):
        found = neighbour_graph(rows, 3, chunk=chunk).to_dense()
        assert torch.allclose(found, expected, atol=1e-6)
    assert torch.allclose(expected, expected.t())


def test_spread_is_the_slow_iteration():
    _, features, scores = two_looks()
    graph = neighbour_graph(features[0], 5)
    p = torch.softmax(scores[0], 1)
    start = p - p.mean(0)
    z = start.clone()
    for _ in range(7):
        z = 0.9 * graph.to_dense() @ z + 0.1 * start
    assert torch.allclose(spread(graph, p, 0.9, steps=7), calibrated(z, "standardise"), atol=1e-4)
    assert torch.allclose(spread(graph, p, 0.0), calibrated(start, "standardise"), atol=1e-5)


def test_few_images_are_no_trouble():
    for count in (1, 2, 3):
        rows = F.normalize(torch.randn(count, 4), dim=1)
        found, _ = spread_labels([rows, rows], [torch.randn(count, 3), torch.randn(count, 3)])
        assert all(part.shape == (count, 3) and torch.isfinite(part).all() for part in found)
