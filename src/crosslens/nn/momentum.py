"""The momentum encoder of MoCo and UCDIR, with batch normalisation split in two."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class SplitBatchNorm2d(nn.BatchNorm2d):
    """Batch normalisation that, in training, normalises even and odd samples apart (UCDIR's shuffle).

    The batch is viewed as ``(N / 2, 2 C, H, W)``, so the halves are the even- and the odd-numbered samples. Each
    half updates its own copy of the running statistics from the same old values; the copies are then averaged.
    ``num_batches_tracked`` does not move. In evaluation it is ordinary batch normalisation.
    """

    splits = 2

    def forward(self, x: Tensor) -> Tensor:
        """``(N, C, H, W)`` to the same shape; N must be even in training.

        Raises:
            ValueError: for an odd N in training.
        """
        if not self.training or not self.track_running_stats:
            return super().forward(x)
        n, c, h, w = x.shape
        if n % self.splits:
            raise ValueError(f"split batch normalisation needs an even batch, not {n}")
        assert self.running_mean is not None
        assert self.running_var is not None
        means = self.running_mean.repeat(self.splits)
        variances = self.running_var.repeat(self.splits)
        weight = None if self.weight is None else self.weight.repeat(self.splits)
        bias = None if self.bias is None else self.bias.repeat(self.splits)
        y = F.batch_norm(
            x.reshape(n // self.splits, c * self.splits, h, w),
            means,
            variances,
            weight,
            bias,
            True,
            0.1 if self.momentum is None else self.momentum,
            self.eps,
        )
        self.running_mean.copy_(means.view(self.splits, c).mean(0))
        self.running_var.copy_(variances.view(self.splits, c).mean(0))
        return y.reshape(n, c, h, w)


def split_batch_norms(module: nn.Module) -> nn.Module:
    """Replace every ``BatchNorm2d`` inside ``module`` by the split variant, keeping weights and statistics."""
    for name, child in module.named_children():
        if type(child) is nn.BatchNorm2d:
            split = SplitBatchNorm2d(child.num_features, child.eps, child.momentum, child.affine)
            split.load_state_dict(child.state_dict())
            setattr(module, name, split.train(child.training))
        else:
            split_batch_norms(child)
    return module


def momentum_copy(network: nn.Module) -> nn.Module:
    """A copy of ``network`` that never receives a gradient, with split batch normalisation.

    Parameters that are frozen already are shared with ``network`` and cost no memory.
    """
    frozen: dict[int, Any] = {id(p): p for p in network.parameters() if not p.requires_grad}
    twin = split_batch_norms(copy.deepcopy(network, frozen))
    return twin.requires_grad_(False)


@torch.no_grad()
def momentum_update(slow: nn.Module, fast: nn.Module, momentum: float) -> None:
    """``slow <- momentum slow + (1 - momentum) fast`` over what ``fast`` learns; buffers keep their own course."""
    pairs = zip(slow.parameters(), fast.parameters(), strict=True)
    slow_parameters, fast_parameters = zip(*((s, f) for s, f in pairs if f.requires_grad), strict=True)
    torch._foreach_mul_(slow_parameters, momentum)
    torch._foreach_add_(slow_parameters, fast_parameters, alpha=1 - momentum)


def shuffled_forward(network: Callable[[Tensor], Tensor], inputs: Tensor, generator: torch.Generator) -> Tensor:
    """Run ``inputs (N, ...)`` in random order and put the rows ``(N, d)`` back: MoCo's batch shuffle."""
    order = torch.randperm(len(inputs), generator=generator).to(inputs.device)
    shuffled = network(inputs[order])
    result = torch.empty_like(shuffled)
    result[order] = shuffled
    return result
