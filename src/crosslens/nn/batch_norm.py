"""Batch normalisation over a batch that several processes hold together, and in two halves."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Total = Callable[[Tensor], Tensor]
"""The sum of a tensor over all processes; gradients flow back to every one of them."""


class SharedBatchNorm2d(nn.BatchNorm2d):
    """Batch normalisation whose statistics, in training, are those of the whole batch of all processes.

    ``torch.nn.SyncBatchNorm`` does the same on GPUs alone.
    """

    total: Total | None = None

    def forward(self, x: Tensor) -> Tensor:
        """The own part ``(n, C, H, W)`` of a batch to the same shape."""
        if not self.training or not self.track_running_stats or self.total is None:
            return super().forward(x)
        y, mean, variance = self._normalised(x, self.total)
        self._move(mean, variance)
        return y

    def _normalised(self, x: Tensor, total: Total) -> tuple[Tensor, Tensor, Tensor]:
        """The batch normalised, and the statistics ``(C,)`` that the running ones move towards."""
        values = x.float()
        count = total(values.new_tensor(float(values.numel() // values.shape[1])))
        mean = total(values.sum((0, 2, 3))) / count
        centred = values - mean.view(1, -1, 1, 1)
        variance = total(centred.square().sum((0, 2, 3))) / count
        y = centred * (variance + self.eps).rsqrt().view(1, -1, 1, 1)
        if self.affine:
            y = y * self.weight.view(1, -1, 1, 1) + self.bias.view(1, -1, 1, 1)
        return y.to(x.dtype), mean.detach(), (variance * count / (count - 1).clamp_min(1)).detach()

    @torch.no_grad()
    def _move(self, mean: Tensor, variance: Tensor) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        share = 0.1 if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, share)
        self.running_var.lerp_(variance, share)


class SplitBatchNorm2d(SharedBatchNorm2d):
    """Batch normalisation that, in training, normalises even and odd samples apart (UCDIR's shuffle).

    The batch is viewed as ``(N / 2, 2 C, H, W)``, so the halves are the even- and the odd-numbered samples. Each
    half updates its own copy of the running statistics from the same old values; the copies are then averaged.
    ``num_batches_tracked`` does not move. In evaluation it is ordinary batch normalisation.

    Attributes:
        halves: the half ``(n,)``, 0 or 1, of each sample of a part of the batch, where several processes hold it.
    """

    splits = 2
    halves: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        """``(N, C, H, W)`` to the same shape; N must be even in training.

        Raises:
            ValueError: for an odd N in training.
        """
        if not self.training or not self.track_running_stats:
            return super().forward(x)
        if self.total is not None and self.halves is not None:
            return self._normalise_part(x, self.total, self.halves.to(x.device))
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

    def _normalise_part(self, x: Tensor, total: Total, halves: Tensor) -> Tensor:
        y = torch.empty_like(x)
        found = []
        for half in range(self.splits):
            own = halves == half
            y[own], *statistics = self._normalised(x[own], total)
            found.append(statistics)
        means, variances = zip(*found, strict=True)
        self._move(torch.stack(means).mean(0), torch.stack(variances).mean(0))
        return y


_KINDS = (nn.BatchNorm2d, SharedBatchNorm2d)


def replace_batch_norms(module: nn.Module, kind: type[SharedBatchNorm2d], total: Total | None = None) -> nn.Module:
    """Replace every ``BatchNorm2d`` inside ``module`` by another kind, keeping weights and statistics.

    Args:
        module: a network.
        kind: of the new layers.
        total: sums over processes; None keeps what a layer had.
    """
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d) and child.track_running_stats and type(child) in _KINDS:
            layer = kind(child.num_features, child.eps, child.momentum, child.affine)
            layer.load_state_dict(child.state_dict())
            layer.total = total or getattr(child, "total", None)
            for own, old in zip(layer.parameters(), child.parameters(), strict=True):
                own.requires_grad_(old.requires_grad)
            setattr(module, name, layer.train(child.training))
        else:
            replace_batch_norms(child, kind, total)
    return module


def set_halves(module: nn.Module, halves: Tensor) -> None:
    """Tell every split layer inside ``module`` the half ``(n,)`` of each sample that comes next."""
    for layer in module.modules():
        if isinstance(layer, SplitBatchNorm2d):
            layer.halves = halves
