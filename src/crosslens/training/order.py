"""The order of images that are too many to be shuffled as a whole: first blocks, then the images of some blocks.

Reading N images in a random order asks a disk for N places. Here the order of blocks of consecutive images is
drawn, and the images of some blocks at a time, a window, are shuffled together: a batch is spread over many places
of the list, and yet what is read at one time lies in few.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from crosslens.training.distributed import World

if TYPE_CHECKING:
    from numpy.typing import NDArray

BLOCK = 256
"""Images that lie, and are read, together."""
WINDOW = 64
"""Blocks whose images are shuffled together."""


class BlockOrder:
    """The images of one domain without end, pass after pass, each in another block shuffle.

    Processes that train together have a range of the images each, N / P behind one another, and need the files of
    no other. Memory is that of a window, and of a number for each block.

    Args:
        size: N, the images of the domain.
        seed: of the orders.
        domain: its number.
        world: the processes; P of them make P parts.
        read_ahead: told the range of images, start and end, of each block of the window that comes next, as far as
            they are this process's.

    Raises:
        ValueError: where there are fewer images than processes.
    """

    def __init__(
        self,
        size: int,
        seed: int,
        domain: int,
        world: World | None = None,
        read_ahead: Callable[[int, int], None] | None = None,
    ) -> None:
        world = world or World()
        parts = world.size
        if size < parts:
            raise ValueError(f"{size} images cannot be shared by {parts} processes")
        self._key, self._rank, self._read_ahead = (seed, domain), world.rank, read_ahead
        self._bounds = [size * part // parts for part in range(parts + 1)]
        # Of each part the pass and window that were made last.
        self._blocks: dict[int, tuple[tuple[int, int], NDArray[np.int64]]] = {}
        self._windows: dict[int, tuple[tuple[int, int, int], NDArray[np.int64]]] = {}

    def batch(self, epoch: int, step: int, size: int) -> Tensor:
        """The images of a step ``(size,)``: an equal share of each part, one behind the other."""
        share = size // (len(self._bounds) - 1)
        drawn = [self._rows(epoch, part, step * share, share) for part in range(len(self._bounds) - 1)]
        return torch.from_numpy(np.concatenate(drawn))

    def _rows(self, epoch: int, part: int, start: int, count: int) -> NDArray[np.int64]:
        found: list[NDArray[np.int64]] = []
        length = self._bounds[part + 1] - self._bounds[part]
        while count:
            number, place = divmod(start, length)
            window, offset = divmod(place, BLOCK * WINDOW)
            rows = self._window(epoch, part, number, window)[offset : offset + count]
            found.append(rows)
            start, count = start + len(rows), count - len(rows)
        return np.concatenate(found)

    def _window(self, epoch: int, part: int, number: int, window: int) -> NDArray[np.int64]:
        """The images of a window of a pass, shuffled."""
        known = self._windows.get(part)
        if known is not None and known[0] == (epoch, number, window):
            return known[1]
        ranges = self._ranges(epoch, part, number, window)
        rows = np.concatenate([np.arange(start, end) for start, end in ranges])
        rows = np.random.default_rng([*self._key, epoch, number, part, window]).permutation(rows)
        self._windows[part] = ((epoch, number, window), rows)
        if self._read_ahead is not None and part == self._rank:
            for start, end in self._ranges(epoch, part, number, window + 1):
                self._read_ahead(start, end)
        return rows

    def _ranges(self, epoch: int, part: int, number: int, window: int) -> list[tuple[int, int]]:
        """Where the blocks of a window lie; none behind the last window."""
        first, end = self._bounds[part], self._bounds[part + 1]
        known = self._blocks.get(part)
        if known is None or known[0] != (epoch, number):
            whole, rest = divmod(end - first, BLOCK)
            order = np.random.default_rng([*self._key, epoch, number, part]).permutation(whole)
            # A block that is not whole comes last, so that every window but the last one has the same length.
            known = ((epoch, number), np.append(order, whole) if rest else order)
            self._blocks[part] = known
        starts = first + known[1][window * WINDOW : (window + 1) * WINDOW] * BLOCK
        return [(int(start), min(int(start) + BLOCK, end)) for start in starts]
