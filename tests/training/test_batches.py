import numpy as np
import pytest
import torch

from crosslens.training.batches import PairBatches
from crosslens.training.views import CachedViews
from testing.golden import read_golden

GOLDEN = read_golden("uem")


def views(count, seed):
    values = np.random.default_rng(seed).normal(size=(count, 4, 3)).astype(np.float16)
    return CachedViews(values, None, torch.device("cpu"))


@pytest.mark.parametrize(("size_a", "size_b", "steps"), GOLDEN["steps_at_64"])
def test_steps_of_an_epoch_on_the_published_data_sets(size_a, size_b, steps):
    for sizes in ((size_a, size_b), (size_b, size_a)):
        batches = PairBatches(tuple(map(range, sizes)), 64, 0, views_per_image=1)
        assert batches.steps == steps


def test_one_view_an_image_is_the_first_of_two():
    both = (views(20, 0), views(12, 1))
    two, one = PairBatches(both, 8, 5), PairBatches(both, 8, 5, views_per_image=1)
    for step in range(two.steps):
        a, b = two.get(1, step), one.get(1, step)
        for domain in (0, 1):
            assert torch.equal(a.index[domain], b.index[domain])
            assert torch.equal(a.queries[domain], b.queries[domain])
            assert torch.equal(b.keys[domain], b.queries[domain])
            assert not torch.equal(a.keys[domain], b.keys[domain])
