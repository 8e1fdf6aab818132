"""Batches of several domains, a function of (seed, epoch, step) alone, so that training resumes anywhere."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from crosslens.support.errors import TrainingError
from crosslens.training.distributed import World
from crosslens.training.order import BlockOrder
from crosslens.training.views import Views

Order = Literal["independent", "joint"]
_MOST_BATCHES = 4
"""Domains that take part in a step with a whole batch each; more of them share as many images."""


@dataclass(frozen=True)
class DomainBatch:
    """One step's images of every domain.

    Attributes:
        index: per domain, the images' positions ``(B,)`` in the whole batch.
        queries: per domain, this process's first views ``(b, ...)``.
        keys: per domain, this process's second views ``(b, ...)``; the first ones again where one view is drawn.
    """

    index: tuple[Tensor, ...]
    queries: tuple[Tensor, ...]
    keys: tuple[Tensor, ...]


class DomainBatches:
    """Draws B images of each domain per step; the largest domain is seen once an epoch, or several times.

    With N images in the largest domain a pass over it has floor(N / B) steps; smaller domains are filled up by
    images drawn with replacement (UCDIR ``loader.py``). An epoch is as many passes as ``least_steps`` needs, one
    at least. ``order='joint'`` takes the domains by one shuffled position, as the authors do, which leaks class
    rank where files are sorted by class; ``independent`` shuffles each domain alone.

    Where the largest domain has more than ``shuffled_whole`` images, all domains come in shuffled blocks
    (``BlockOrder``), every process draws from its own range of them, and smaller domains are repeated, in another
    order each time, instead of being filled up.

    Args:
        views: of each domain.
        batch_size: B, per domain; less with more than ``_MOST_BATCHES`` domains, so that a step's cost is bounded,
            and where the largest domain has fewer images.
        seed: of orders and views.
        order: see above.
        world: the processes that share each batch.
        views_per_image: 2, or 1 where a method needs no second view.
        least_steps: of an epoch.
        shuffled_whole: images of a domain that are shuffled as a whole at most; None for any number.

    Attributes:
        steps: of an epoch.

    Raises:
        TrainingError: when a domain is empty, or none holds two images a process; for a joint order in blocks.
    """

    def __init__(
        self,
        views: Sequence[Views],
        batch_size: int,
        seed: int,
        order: Order = "independent",
        world: World | None = None,
        views_per_image: int = 2,
        least_steps: int = 1,
        shuffled_whole: int | None = None,
    ) -> None:
        self.world = world or World()
        largest = max(len(v) for v in views)
        fitting = min(batch_size, largest, _MOST_BATCHES * batch_size // len(views))
        if fitting < batch_size:
            # Even halves for every process, since batch normalisation is split in two.
            fitting -= fitting % (2 * self.world.size)
        if not fitting or not all(map(len, views)):
            sizes = ", ".join(str(len(v)) for v in views)
            raise TrainingError(f"there are too few images to learn from: {sizes} in the domains")
        self.views = tuple(views)
        self.batch_size = fitting
        self.seed = seed
        self.order = order
        self.views_per_image = views_per_image
        self._steps_of_pass = largest // self.batch_size
        self.steps = max(self._steps_of_pass, least_steps)
        self._part = self.world.part(self.batch_size)
        self._blocks: list[BlockOrder] = []
        if shuffled_whole is not None and largest > shuffled_whole:
            self._blocks = self._block_orders()
        self._pass: tuple[int, int] | None = None
        self._orders: list[Tensor] = []
        self._pool = ThreadPoolExecutor(1)
        self._ahead: dict[tuple[int, int], Future[DomainBatch]] = {}

    def get(self, epoch: int, step: int) -> DomainBatch:
        """The batch of one step; the next one is prepared meanwhile."""
        ready = self._ahead.pop((epoch, step), None)
        for future in self._ahead.values():
            future.cancel()
        self._ahead.clear()
        batch = self._make(epoch, step) if ready is None else ready.result()
        if step + 1 < self.steps:
            self._ahead[(epoch, step + 1)] = self._pool.submit(self._make, epoch, step + 1)
        return batch

    def _block_orders(self) -> list[BlockOrder]:
        if self.order == "joint":
            raise TrainingError(
                "order=joint pairs the images of domains that are shuffled as a whole; these are too many for"
                " that: use order=independent, or raise bank_rows"
            )
        if min(map(len, self.views)) < self.world.size:
            raise TrainingError("a domain has fewer images than there are processes; use fewer of them")
        return [
            BlockOrder(len(views), self.seed, domain, self.world, views.read_ahead)
            for domain, views in enumerate(self.views)
        ]

    def _index(self, epoch: int, step: int) -> tuple[Tensor, ...]:
        """The images of a step, domain by domain."""
        if self._blocks:
            return tuple(order.batch(epoch, step, self.batch_size) for order in self._blocks)
        number, place = divmod(step, self._steps_of_pass)
        if (epoch, number) != self._pass:
            self._orders, self._pass = self._draw_orders(epoch, number), (epoch, number)
        rows = slice(place * self.batch_size, (place + 1) * self.batch_size)
        return tuple(order[rows] for order in self._orders)

    def _make(self, epoch: int, step: int) -> DomainBatch:
        index = self._index(epoch, step)
        generator = generator_for(self.seed, epoch, step)
        queries, keys = [], []
        for views, chosen in zip(self.views, index, strict=True):
            seeds = torch.randint(0, 2**31 - 1, (2, self.batch_size), generator=generator)
            mine = chosen[self._part]
            queries.append(views.draw(mine, seeds[0, self._part]))
            two = self.views_per_image > 1
            keys.append(views.draw(mine, seeds[1, self._part]) if two else queries[-1])
        return DomainBatch(index, tuple(queries), tuple(keys))

    def _draw_orders(self, epoch: int, number: int) -> list[Tensor]:
        """The order of every domain's images in one pass of an epoch."""
        generator = generator_for(self.seed, epoch, -1 - number)
        sizes = [len(v) for v in self.views]
        length = max(sizes)
        shared = torch.randperm(length, generator=generator)
        orders = []
        for size in sizes:
            filled = torch.arange(length)
            filled[size:] = torch.randint(0, size, (length - size,), generator=generator)
            own = shared if self.order == "joint" else torch.randperm(length, generator=generator)
            orders.append(filled[own])
        return orders


def generator_for(seed: int, epoch: int, step: int) -> torch.Generator:
    """A generator that depends on these three numbers alone."""
    mixed = (seed * 1_000_003 + epoch + 1) * 1_000_003 + step + 1
    return torch.Generator().manual_seed(mixed % (2**63 - 1))
