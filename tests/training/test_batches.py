import numpy as np
import pytest
import torch

from crosslens.support.errors import TrainingError
from crosslens.training.batches import DomainBatches
from crosslens.training.views import CachedViews
from testing.golden import read_golden

GOLDEN = read_golden("uem")


def views(count, seed):
    values = np.random.default_rng(seed).normal(size=(count, 4, 3)).astype(np.float16)
    return CachedViews(values, None, torch.device("cpu"))


@pytest.mark.parametrize(("size_a", "size_b", "steps"), GOLDEN["steps_at_64"])
def test_steps_of_an_epoch_on_the_published_data_sets(size_a, size_b, steps):
    for sizes in ((size_a, size_b), (size_b, size_a)):
        batches = DomainBatches(tuple(map(range, sizes)), 64, 0, views_per_image=1)
        assert batches.steps == steps


def test_one_view_an_image_is_the_first_of_two():
    both = (views(20, 0), views(12, 1))
    two, one = DomainBatches(both, 8, 5), DomainBatches(both, 8, 5, views_per_image=1)
    for step in range(two.steps):
        a, b = two.get(1, step), one.get(1, step)
        for domain in (0, 1):
            assert torch.equal(a.index[domain], b.index[domain])
            assert torch.equal(a.queries[domain], b.queries[domain])
            assert torch.equal(b.keys[domain], b.queries[domain])
            assert not torch.equal(a.keys[domain], b.keys[domain])


@pytest.mark.parametrize("sizes", [(20,), (20, 7), (12, 20, 5, 9)])
def test_passes_of_an_epoch_each_show_the_largest_domain_once(sizes):
    batches = DomainBatches([views(size, size) for size in sizes], 8, 5, least_steps=5)
    assert batches.steps == 5
    seen = [batches.get(2, step) for step in range(5)]
    largest = sizes.index(max(sizes))
    passes = [torch.cat([b.index[largest] for b in seen[start : start + 2]]).tolist() for start in (0, 2)]
    assert all(len(set(one)) == 16 for one in passes)
    assert passes[0] != passes[1]
    assert all(len(b.index) == len(b.queries) == len(sizes) for b in seen)
    # The first pass is what an epoch of one pass is.
    one_pass = DomainBatches([views(size, size) for size in sizes], 8, 5)
    assert one_pass.steps == 2
    assert all(torch.equal(seen[1].queries[n], one_pass.get(2, 1).queries[n]) for n in range(len(sizes)))


def test_a_batch_is_no_larger_than_the_largest_domain():
    batches = DomainBatches((views(21, 0), views(12, 1)), 64, 0)
    assert (batches.batch_size, batches.steps) == (20, 1)
    assert len(batches.get(0, 0).queries[1]) == 20
    assert DomainBatches([views(21, n) for n in range(6)], 8, 0).batch_size == 4
    with pytest.raises(TrainingError, match="too few images to learn from: 21, 0"):
        DomainBatches((views(21, 0), views(0, 1)), 64, 0)
