"""Data parallel training that computes what one process computes.

Every process holds the whole state (banks, clusters, network) and embeds its part of each batch. The embedded
rows are gathered, every process computes the same losses on the full batch, and gradients, which flow through
the own rows alone, are summed. Batch normalisation takes its statistics from the full batch too
(``crosslens.nn.batch_norm``); a network that draws at random inside is refused, as all would draw alike.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from crosslens.support.errors import TrainingError


@dataclass(frozen=True)
class World:
    """Which process it is among those that train together.

    Attributes:
        rank: 0 .. size - 1.
        size: number of processes.
    """

    rank: int = 0
    size: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and shows progress."""
        return self.rank == 0

    def part(self, count: int) -> slice:
        """The rows of a batch of ``count`` that this process embeds.

        Raises:
            TrainingError: when the batch cannot be split evenly.
        """
        if count % self.size:
            raise TrainingError(f"a batch of {count} cannot be split over {self.size} processes; use a multiple")
        share = count // self.size
        return slice(self.rank * share, (self.rank + 1) * share)

    def gather(self, rows: Tensor) -> Tensor:
        """Rows ``(b, d)`` of every process as ``(size x b, d)``; gradients flow back to the own rows."""
        if self.size == 1:
            return rows
        gathered: Tensor = _Gather.apply(rows, self)
        return gathered

    def total(self, value: Tensor) -> Tensor:
        """The sum of every process's ``value``; gradients flow back to all of them."""
        summed: Tensor = _Total.apply(value)
        return summed

    def sum_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Add up the gradients of all processes, in place."""
        if self.size == 1:
            return
        gradients = [p.grad for p in parameters if p.grad is not None]
        flat = torch.cat([g.reshape(-1) for g in gradients])
        dist.all_reduce(flat)
        for gradient, part in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(part.view_as(gradient))

    def share(self, value: Any) -> Any:
        """The main process's ``value`` on every process (clusters, mostly)."""
        if self.size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0)
        return box[0]

    def barrier(self) -> None:
        """Wait for the others."""
        if self.size > 1:
            dist.barrier()


def require_same_in_parts(network: nn.Module) -> None:
    """Check that a network computes the same for a batch in parts as for the whole batch.

    Raises:
        TrainingError: for dropout, and for layers that look at the whole batch and are not shared.
    """
    for name, layer in network.named_modules():
        chances = [getattr(layer, key, 0) for key in ("p", "drop_prob", "dropout", "attention_dropout")]
        if any(isinstance(chance, float) and chance > 0 for chance in chances):
            raise TrainingError(f"{name} drops values at random, which several processes cannot share; use one")
        if isinstance(layer, _BatchNorm) and getattr(layer, "total", None) is None:
            raise TrainingError(
                f"{name} is a {type(layer).__name__}, whose statistics several processes cannot share; use one"
            )


def join_world(device: torch.device) -> World:
    """Join the processes that ``torchrun`` started; alone, this is the whole world."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        return World()
    if not dist.is_initialized():
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    return World(dist.get_rank(), dist.get_world_size())


class _Total(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        found = value.clone()
        dist.all_reduce(found)
        return found

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        # Every process's rows depend on the sum.
        found = gradients[0].clone()
        dist.all_reduce(found)
        return found


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, world: World) -> Tensor:
        ctx.world, ctx.count = world, len(rows)
        parts = [torch.empty_like(rows) for _ in range(world.size)]
        dist.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        start = ctx.world.rank * ctx.count
        return gradients[0][start : start + ctx.count], None
