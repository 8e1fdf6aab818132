"""Statistics of a batch in parts: two threads play two processes, and everything equals the whole batch."""

import copy
import threading

import pytest
import torch
from torch import nn

from crosslens.nn.batch_norm import SharedBatchNorm2d, SplitBatchNorm2d, replace_batch_norms, set_halves
from crosslens.support.errors import TrainingError
from crosslens.training.distributed import require_same_in_parts


class Together:
    """A sum over threads; nothing flows back through it."""

    def __init__(self, size):
        self.barrier, self.values = threading.Barrier(size, timeout=60), [None] * size

    def of(self, rank):
        def total(value):
            self.values[rank] = value
            self.barrier.wait()
            found = sum(self.values)
            self.barrier.wait()
            return found

        return total


def in_parts(layer, parts, halves=None):
    together, found = Together(len(parts)), [None] * len(parts)
    layers = [copy.deepcopy(layer) for _ in parts]

    def run(rank):
        layers[rank].total = together.of(rank)
        if halves is not None:
            set_halves(layers[rank], halves[rank])
        with torch.no_grad():
            found[rank] = layers[rank](parts[rank])

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(len(parts))]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    return torch.cat(found), layers


def scrambled(layer):
    with torch.no_grad():
        for value in (layer.weight, layer.bias, layer.running_mean, layer.running_var):
            value.uniform_(0.5, 1.5)
    return layer.train()


def test_parts_are_normalised_by_the_statistics_of_all():
    torch.manual_seed(0)
    plain = scrambled(nn.BatchNorm2d(3))
    shared = SharedBatchNorm2d(3)
    shared.load_state_dict(plain.state_dict())
    x = torch.randn(8, 3, 4, 5) * torch.arange(1, 9).view(8, 1, 1, 1) + 2
    y, layers = in_parts(shared.train(), x.split(4))
    assert torch.allclose(y, plain(x), atol=1e-5)
    for layer in layers:
        assert torch.allclose(layer.running_mean, plain.running_mean, atol=1e-6)
        assert torch.allclose(layer.running_var, plain.running_var, rtol=1e-5)


def test_halves_may_lie_anywhere_in_the_parts():
    torch.manual_seed(1)
    whole = scrambled(SplitBatchNorm2d(2))
    parted = copy.deepcopy(whole)
    x = torch.randn(8, 2, 3, 3) * torch.arange(1, 9).view(8, 1, 1, 1)
    order = torch.randperm(8)
    y, layers = in_parts(parted, x[order].split(4), (order % 2).split(4))
    assert torch.allclose(y, whole(x)[order], atol=1e-5)
    assert torch.allclose(layers[0].running_var, whole.running_var, rtol=1e-5)
    assert torch.equal(layers[0].running_mean, layers[1].running_mean)


def test_gradients_are_those_of_plain_batch_normalisation():
    torch.manual_seed(2)
    plain = scrambled(nn.BatchNorm2d(3))
    shared = replace_batch_norms(nn.Sequential(copy.deepcopy(plain)), SharedBatchNorm2d, lambda value: value)
    x, weights = torch.randn(6, 3, 4, 4, requires_grad=True), torch.randn(6, 3, 4, 4)
    first = torch.autograd.grad((plain(x) * weights).sum(), [x, *plain.parameters()])
    second = torch.autograd.grad((shared(x) * weights).sum(), [x, *shared.parameters()])
    for a, b in zip(first, second, strict=True):
        assert torch.allclose(a, b, atol=1e-4)


@pytest.mark.parametrize(
    ("layer", "message"), [(nn.Dropout(0.1), "drops values at random"), (nn.BatchNorm1d(3), "BatchNorm1d")]
)
def test_what_parts_cannot_share_is_refused(layer, message):
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Dropout(0.0))
    replace_batch_norms(network, SharedBatchNorm2d, lambda value: value)
    require_same_in_parts(network)
    with pytest.raises(TrainingError, match=message):
        require_same_in_parts(nn.Sequential(network, layer))
