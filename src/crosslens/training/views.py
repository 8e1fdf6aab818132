"""Where training inputs come from: cached features of views (``tune=head``) or images (``tune=full``)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from torch import Tensor

from crosslens.backbones.devices import cpu_workers
from crosslens.images.augment import Augmentation
from crosslens.images.preprocess import Preprocess
from crosslens.support.addresses import Place

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Views(Protocol):
    """The N images of one domain, as inputs of the network that is trained."""

    def __len__(self) -> int:
        """N."""
        ...

    def draw(self, index: Tensor, seeds: Tensor) -> Tensor:
        """One random view of each image of ``index (b,)``; each depends on its seed ``(b,)`` alone."""
        ...

    def centres(self, rows: Tensor | None = None, chunk: int = 2048) -> Iterator[Tensor]:
        """The centre view of the images at ``rows``, of every image by default, in order and in chunks."""
        ...

    def read_ahead(self, start: int, end: int) -> None:
        """Told that images ``start .. end - 1`` are drawn soon."""
        ...


class Rows(Protocol):
    """Features of N images that lie somewhere else than in memory."""

    shape: tuple[int, int, int]

    def read(self, index: NDArray[np.int64], view: NDArray[np.int64]) -> NDArray[np.float16]:
        """One view ``(b, D)`` of each image of ``index (b,)``."""
        ...

    def read_ahead(self, start: int, end: int) -> None:
        """Told that images ``start .. end - 1`` are read soon."""
        ...


class CachedViews:
    """Features of the centre view and V random views, drawn from with equal probability.

    Args:
        values: ``(N, 1 + V, D)`` fp16.
        mean: ``(D,)`` subtracted from every row (per-domain centring), or None.
        device: where batches go.
    """

    def __init__(self, values: NDArray[np.float16], mean: Tensor | None, device: torch.device) -> None:
        self.values = torch.from_numpy(values)
        self.mean = mean
        self.device = device

    def __len__(self) -> int:
        return len(self.values)

    def draw(self, index: Tensor, seeds: Tensor) -> Tensor:
        """``(b, D)`` float32."""
        return _ready(self.values[index, seeds % self.values.shape[1]], self.mean, self.device)

    def centres(self, rows: Tensor | None = None, chunk: int = 2048) -> Iterator[Tensor]:
        """``(<= chunk, D)`` float32 each."""
        centres = self.values[:, 0] if rows is None else self.values[rows, 0]
        for start in range(0, len(centres), chunk):
            yield _ready(centres[start : start + chunk], self.mean, self.device)

    def read_ahead(self, start: int, end: int) -> None:
        """Nothing to do: all are in memory."""


class StoredViews:
    """The same features where they do not fit into memory: each is read when it is drawn.

    Args:
        rows: of the N images.
        mean: ``(D,)`` subtracted from every row, or None.
        device: where batches go.
    """

    def __init__(self, rows: Rows, mean: Tensor | None, device: torch.device) -> None:
        self.rows, self.mean, self.device = rows, mean, device

    def __len__(self) -> int:
        return self.rows.shape[0]

    def draw(self, index: Tensor, seeds: Tensor) -> Tensor:
        """``(b, D)`` float32, those of ``CachedViews``."""
        return self._read(index, seeds % self.rows.shape[1])

    def centres(self, rows: Tensor | None = None, chunk: int = 2048) -> Iterator[Tensor]:
        """``(<= chunk, D)`` float32 each."""
        for start in range(0, len(self) if rows is None else len(rows), chunk):
            if rows is None:
                part = torch.arange(start, min(start + chunk, len(self)))
            else:
                part = rows[start : start + chunk]
            yield self._read(part, torch.zeros_like(part))

    def read_ahead(self, start: int, end: int) -> None:
        """Have these rows at hand."""
        self.rows.read_ahead(start, end)

    def _read(self, index: Tensor, view: Tensor) -> Tensor:
        return _ready(torch.from_numpy(self.rows.read(index.numpy(), view.numpy())), self.mean, self.device)


def _ready(rows: Tensor, mean: Tensor | None, device: torch.device) -> Tensor:
    rows = rows.float()
    return (rows if mean is None else rows - mean).to(device)


class ImageViews:
    """Images decoded and augmented on the fly by threads.

    Args:
        paths: N files.
        preprocess: of the backbone; its normalisation also serves the random views.
        augmentation: how random views are drawn.
        device: where batches go.
        workers: decoding threads; one a processor by default.
    """

    def __init__(
        self,
        paths: Sequence[Place],
        preprocess: Preprocess,
        augmentation: Augmentation,
        device: torch.device,
        workers: int | None = None,
    ) -> None:
        self.paths = paths
        self.preprocess = preprocess
        self.augmentation = augmentation
        self.device = device
        self._pool = ThreadPoolExecutor(workers or cpu_workers())

    def __len__(self) -> int:
        return len(self.paths)

    def draw(self, index: Tensor, seeds: Tensor) -> Tensor:
        """``(b, 3, crop, crop)`` float32."""
        pairs = zip(index.tolist(), seeds.tolist(), strict=True)
        return self._ready(list(self._pool.map(self._view, pairs)))

    def centres(self, rows: Tensor | None = None, chunk: int = 2048) -> Iterator[Tensor]:
        """``(<= 64, 3, crop, crop)`` float32 each."""
        step = min(chunk, 64)
        for start in range(0, len(self) if rows is None else len(rows), step):
            if rows is None:
                paths = self.paths[start : start + step]
            else:
                paths = [self.paths[row] for row in rows[start : start + step].tolist()]
            yield self._ready(list(self._pool.map(self.preprocess.pixels, paths)))

    def read_ahead(self, start: int, end: int) -> None:
        """Nothing: images come one file at a time."""

    def _view(self, pair: tuple[int, int]) -> NDArray[np.uint8]:
        position, seed = pair
        image = self.preprocess.load(self.paths[position])
        view = self.augmentation.view(image, self.preprocess.crop, np.random.default_rng(seed))
        return np.asarray(view, np.uint8)

    def _ready(self, squares: list[NDArray[np.uint8]]) -> Tensor:
        return torch.from_numpy(self.preprocess.normalise(np.stack(squares))).to(self.device)
