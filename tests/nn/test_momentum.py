import copy

import pytest
import torch
from torch import nn

from crosslens.nn.batch_norm import SplitBatchNorm2d, replace_batch_norms
from crosslens.nn.momentum import halves_after_shuffle, momentum_copy, momentum_update, shuffled_forward


def test_split_batch_norm_normalises_even_and_odd_samples_apart():
    torch.manual_seed(0)
    x = torch.randn(8, 3, 4, 4) * torch.arange(1, 9).view(8, 1, 1, 1)
    split, plain = SplitBatchNorm2d(3).train(), nn.BatchNorm2d(3).train()
    with torch.no_grad():
        for layer in (split, plain):
            layer.weight.copy_(torch.tensor([1.0, 2.0, 0.5]))
            layer.bias.copy_(torch.tensor([0.1, 0.0, -1.0]))
    y = split(x)
    interleaved, contiguous = torch.empty_like(x), torch.empty_like(x)
    interleaved[0::2], interleaved[1::2] = plain(x[0::2]), plain(x[1::2])
    contiguous[:4], contiguous[4:] = plain(x[:4]), plain(x[4:])
    assert torch.allclose(y, interleaved, atol=1e-5)
    assert (y - contiguous).abs().max() > 0.05


def test_split_batch_norm_averages_running_statistics_and_counts_no_batch():
    torch.manual_seed(0)
    x = torch.randn(6, 2, 3, 3) + 5
    split = SplitBatchNorm2d(2).train()
    halves = [nn.BatchNorm2d(2).train() for _ in range(2)]
    for half, part in zip(halves, (x[0::2], x[1::2]), strict=True):
        half(part)
    split(x)
    assert torch.allclose(split.running_mean, (halves[0].running_mean + halves[1].running_mean) / 2)
    assert torch.allclose(split.running_var, (halves[0].running_var + halves[1].running_var) / 2)
    assert split.num_batches_tracked == 0


def test_split_batch_norm_is_plain_in_evaluation_and_refuses_odd_batches():
    split, plain = SplitBatchNorm2d(2).eval(), nn.BatchNorm2d(2).eval()
    x = torch.randn(3, 2, 4, 4)
    assert torch.equal(split(x), plain(x))
    with pytest.raises(ValueError, match="even batch, not 3"):
        split.train()(x)


def test_split_batch_norms_replaces_nested_layers_and_keeps_their_state():
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Sequential(nn.BatchNorm2d(4), nn.ReLU()))
    network[1][0].running_mean.fill_(3.0)
    twin = replace_batch_norms(copy.deepcopy(network), SplitBatchNorm2d)
    assert type(twin[1][0]) is SplitBatchNorm2d
    assert torch.equal(twin[1][0].running_mean, network[1][0].running_mean)


def test_momentum_update_moves_parameters_only():
    fast = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    slow = momentum_copy(fast)
    with torch.no_grad():
        fast[0].weight.add_(1.0)
        fast[1].running_mean.fill_(9.0)
    before = slow[0].weight.clone()
    momentum_update(slow, fast, 0.9)
    assert torch.allclose(slow[0].weight, before + 0.1)
    assert torch.equal(slow[1].running_mean, torch.zeros(2))
    assert not any(p.requires_grad for p in slow.parameters())
    same = momentum_copy(fast)
    momentum_update(same, fast, 0.5)
    assert torch.allclose(same[0].weight, fast[0].weight)


def test_shuffled_forward_puts_rows_back():
    x = torch.arange(10.0).view(10, 1)
    seen = []

    def network(rows):
        seen.append(rows.clone())
        return rows * 2

    y = shuffled_forward(network, x, torch.Generator().manual_seed(1))
    assert torch.equal(y, x * 2)
    assert not torch.equal(seen[0], x)


def test_halves_are_those_of_the_shuffle():
    split, seen = SplitBatchNorm2d(1).train(), torch.randn(12, 1, 2, 2)
    y = shuffled_forward(split, seen, torch.Generator().manual_seed(3))
    halves = halves_after_shuffle(12, torch.Generator().manual_seed(3))
    for half in (0, 1):
        assert torch.allclose(y[halves == half], nn.BatchNorm2d(1).train()(seen[halves == half]), atol=1e-5)
