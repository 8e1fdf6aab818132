"""Batches of two domains, a function of (seed, epoch, step) alone, so that training resumes anywhere."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from crosslens.support.errors import TrainingError
from crosslens.training.distributed import World
from crosslens.training.views import Views

Order = Literal["independent", "joint"]


@dataclass(frozen=True)
class PairBatch:
    """One step's images of both domains.

    Attributes:
        index: per domain, the images' positions ``(B,)`` in the whole batch.
        queries: per domain, this process's first views ``(b, ...)``.
        keys: per domain, this process's second views ``(b, ...)``; the first ones again where one view is drawn.
    """

    index: tuple[Tensor, Tensor]
    queries: tuple[Tensor, Tensor]
    keys: tuple[Tensor, Tensor]


class PairBatches:
    """Draws B images of each domain per step; the larger domain is seen once an epoch.

    With N = max(N_A, N_B) an epoch has floor(N / B) steps; the smaller domain is filled up by images drawn with
    replacement (UCDIR ``loader.py``). ``order='joint'`` pairs A and B by one shuffled position, as the authors
    do, which leaks class rank where files are sorted by class; ``independent`` shuffles each domain alone.

    Args:
        views: of domains A and B.
        batch_size: B, per domain.
        seed: of orders and views.
        order: see above.
        world: the processes that share each batch.
        views_per_image: 2, or 1 where a method needs no second view.

    Raises:
        TrainingError: when a domain is empty, or the larger one holds fewer images than a batch.
    """

    def __init__(
        self,
        views: tuple[Views, Views],
        batch_size: int,
        seed: int,
        order: Order = "independent",
        world: World | None = None,
        views_per_image: int = 2,
    ) -> None:
        largest = max(len(v) for v in views)
        if largest < batch_size:
            raise TrainingError(
                f"the larger domain has {largest} images, fewer than a batch of {batch_size};"
                f" use a smaller batch (--set batch_size={max(2, largest // 2)})"
            )
        self.views = views
        self.batch_size = batch_size
        self.seed = seed
        self.order = order
        self.world = world or World()
        self.views_per_image = views_per_image
        self.steps = largest // batch_size
        self._part = self.world.part(batch_size)
        self._epoch = -1
        self._orders: tuple[Tensor, Tensor] = (torch.empty(0), torch.empty(0))
        self._pool = ThreadPoolExecutor(1)
        self._ahead: dict[tuple[int, int], Future[PairBatch]] = {}

    def get(self, epoch: int, step: int) -> PairBatch:
        """The batch of one step; the next one is prepared meanwhile."""
        ready = self._ahead.pop((epoch, step), None)
        for future in self._ahead.values():
            future.cancel()
        self._ahead.clear()
        batch = self._make(epoch, step) if ready is None else ready.result()
        if step + 1 < self.steps:
            self._ahead[(epoch, step + 1)] = self._pool.submit(self._make, epoch, step + 1)
        return batch

    def _make(self, epoch: int, step: int) -> PairBatch:
        if epoch != self._epoch:
            self._orders, self._epoch = self._draw_orders(epoch), epoch
        rows = slice(step * self.batch_size, (step + 1) * self.batch_size)
        index = (self._orders[0][rows], self._orders[1][rows])
        generator = generator_for(self.seed, epoch, step)
        queries, keys = [], []
        for views, chosen in zip(self.views, index, strict=True):
            seeds = torch.randint(0, 2**31 - 1, (2, self.batch_size), generator=generator)
            mine = chosen[self._part]
            queries.append(views.draw(mine, seeds[0, self._part]))
            two = self.views_per_image > 1
            keys.append(views.draw(mine, seeds[1, self._part]) if two else queries[-1])
        return PairBatch(index, (queries[0], queries[1]), (keys[0], keys[1]))

    def _draw_orders(self, epoch: int) -> tuple[Tensor, Tensor]:
        generator = generator_for(self.seed, epoch, -1)
        sizes = [len(v) for v in self.views]
        length = max(sizes)
        shared = torch.randperm(length, generator=generator)
        orders = []
        for size in sizes:
            filled = torch.arange(length)
            filled[size:] = torch.randint(0, size, (length - size,), generator=generator)
            own = shared if self.order == "joint" else torch.randperm(length, generator=generator)
            orders.append(filled[own])
        return orders[0], orders[1]


def generator_for(seed: int, epoch: int, step: int) -> torch.Generator:
    """A generator that depends on these three numbers alone."""
    mixed = (seed * 1_000_003 + epoch + 1) * 1_000_003 + step + 1
    return torch.Generator().manual_seed(mixed % (2**63 - 1))
