"""Where training inputs come from: cached features of views (``tune=head``) or images (``tune=full``)."""

from __future__ import annotations

from collections.abc import Iterator
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

    def centres(self, chunk: int = 2048) -> Iterator[Tensor]:
        """The centre view of every image in order, in chunks."""
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
        return self._ready(self.values[index, seeds % self.values.shape[1]])

    def centres(self, chunk: int = 2048) -> Iterator[Tensor]:
        """``(<= chunk, D)`` float32 each."""
        for start in range(0, len(self), chunk):
            yield self._ready(self.values[start : start + chunk, 0])

    def _ready(self, rows: Tensor) -> Tensor:
        rows = rows.float()
        if self.mean is not None:
            rows = rows - self.mean
        return rows.to(self.device)


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
        paths: list[Place],
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

    def centres(self, chunk: int = 2048) -> Iterator[Tensor]:
        """``(<= 64, 3, crop, crop)`` float32 each."""
        step = min(chunk, 64)
        for start in range(0, len(self), step):
            yield self._ready(list(self._pool.map(self.preprocess.pixels, self.paths[start : start + step])))

    def _view(self, pair: tuple[int, int]) -> NDArray[np.uint8]:
        position, seed = pair
        image = self.preprocess.load(self.paths[position])
        view = self.augmentation.view(image, self.preprocess.crop, np.random.default_rng(seed))
        return np.asarray(view, np.uint8)

    def _ready(self, squares: list[NDArray[np.uint8]]) -> Tensor:
        return torch.from_numpy(self.preprocess.normalise(np.stack(squares))).to(self.device)
