"""The momentum encoder of MoCo and UCDIR, with batch normalisation split in two."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from crosslens.nn.batch_norm import SplitBatchNorm2d, replace_batch_norms


def momentum_copy(network: nn.Module) -> nn.Module:
    """A copy of ``network`` that never receives a gradient, with split batch normalisation.

    Parameters that are frozen already are shared with ``network`` and cost no memory.
    """
    frozen: dict[int, Any] = {id(p): p for p in network.parameters() if not p.requires_grad}
    twin = replace_batch_norms(copy.deepcopy(network, frozen), SplitBatchNorm2d)
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


def halves_after_shuffle(count: int, generator: torch.Generator) -> Tensor:
    """Which half ``(count,)``, 0 or 1, each row is in after ``shuffled_forward`` has put ``count`` in order."""
    return torch.randperm(count, generator=generator).argsort() % SplitBatchNorm2d.splits
