"""From uploaded bytes to features: decoding and the network in batches shared by all requests."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from crosslens.backbones.devices import cpu_workers
from crosslens.encoder.querying import QueryEncoder
from crosslens.images.decode import decode
from crosslens.images.preprocess import Preprocess
from crosslens.images.region import Region
from crosslens.search.query.embedding import PictureFeatures, assign_domains, group_by_domain, needs_frozen
from crosslens.search.query.query import AUTO
from crosslens.server.batching import Batcher, Embedded
from crosslens.server.bodies import checked_picture
from crosslens.server.metrics import Meter
from crosslens.server.problems import Problem
from crosslens.server.settings import ServerSettings
from crosslens.support.errors import BackboneError, ImageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float32]
    Square = NDArray[np.uint8]

log = logging.getLogger(__name__)


class Embedding:
    """Runs the networks of all collections; those with the same network share its engine and its batches."""

    def __init__(self, settings: ServerSettings, meter: Meter) -> None:
        self._settings, self._meter = settings, meter
        self._threads = max(1, cpu_workers() // settings.workers)
        self._decoders = ThreadPoolExecutor(self._threads, thread_name_prefix="decode")
        self._batchers: dict[str, Batcher] = {}
        self._making = threading.Lock()

    def warm(self, encoder: QueryEncoder) -> None:
        """Load everything ``encoder`` needs and run it once, which takes seconds the first time on a machine."""
        side = encoder.preprocess.crop
        features = self.embed_squares(encoder, [np.zeros((side, side, 3), np.uint8)], None)
        encoder.encode_features(features)
        if encoder.has_text:
            try:
                encoder.encode_texts(["a picture"])
            except BackboneError as error:
                # Pictures can be searched with all the same.
                log.warning("%s reads no texts here: %s", encoder.name, error)

    async def embed_pictures(
        self,
        encoder: QueryEncoder,
        images: Sequence[BinaryIO],
        domain: str | None,
        seconds: dict[str, float],
        detect: Callable[[NDArray[np.float32]], list[str | None]],
        regions: Sequence[Region | None] = (),
    ) -> list[PictureFeatures]:
        """Uploaded images through the network.

        Args:
            encoder: whose vectors are wanted.
            images: open files, N of them; each is read when its turn comes.
            domain: of all of them; ``auto`` detects it, None where it is unknown.
            seconds: gets the stages decode, queue and embed.
            detect: tells domains from the frozen backbone's features ``(N, D)``.
            regions: the part of each image that is meant, None for all of it; none for all of all.

        Raises:
            Problem: 413, 415 or 422 for an image that cannot be taken, 503 when too many wait.
        """
        decode: list[Callable[[], Square]] = [
            partial(self._square, encoder.preprocess, image, number, region)
            for number, (image, region) in enumerate(zip(images, regions or [None] * len(images), strict=True))
        ]
        names: list[str | None] = [domain] * len(images)
        frozen: Sequence[Array | None] = [None] * len(images)
        if needs_frozen(encoder, names):
            embedded = await self._embedded(encoder, None, decode, seconds, frozen=True)
            frozen = features = [one.features for one in embedded]
            if domain == AUTO:
                names = await asyncio.to_thread(assign_domains, names, np.stack(features), detect)
            # Another network is shown the squares that are there.
            decode = [partial(np.asarray, one.square) for one in embedded]
        if encoder.embeds_by_domain:
            features = [np.empty(0, np.float32)] * len(images)
            for name, rows in group_by_domain(names).items():
                embedded = await self._embedded(encoder, name, [decode[row] for row in rows], seconds)
                for row, one in zip(rows, embedded, strict=True):
                    features[row] = one.features
        return [PictureFeatures(*one) for one in zip(names, features, frozen, strict=True)]

    def embed_squares(
        self, encoder: QueryEncoder, squares: Sequence[NDArray[np.uint8]], domain: str | None
    ) -> NDArray[np.float32]:
        """Backbone features ``(N, D)`` of squares ``(H, W, 3)``, between those of searches; for jobs.

        At most a batch of them waits at any time, so that searches need not.
        """
        batcher = self._batcher(encoder, domain)
        rows: list[NDArray[np.float32]] = []
        for start in range(0, len(squares), batcher.size):
            part = squares[start : start + batcher.size]
            waiting = [batcher.patiently(partial(np.asarray, square)) for square in part]
            rows += [future.result().features for future in waiting]
        return np.stack(rows)

    def close(self) -> None:
        """Run what waits, then stop all threads."""
        for batcher in self._batchers.values():
            batcher.close()
        self._decoders.shutdown()

    async def _embedded(
        self,
        encoder: QueryEncoder,
        domain: str | None,
        decode: Sequence[Callable[[], Square]],
        seconds: dict[str, float],
        *,
        frozen: bool = False,
    ) -> list[Embedded]:
        batcher = self._batchers.get(encoder.network_of(domain, frozen=frozen))
        if batcher is None:
            batcher = await asyncio.to_thread(self._batcher, encoder, domain, frozen=frozen)
        embedded = await asyncio.gather(*(asyncio.wrap_future(future) for future in batcher.submit(decode)))
        seconds["decode"] = seconds.get("decode", 0.0) + max(one.decoded for one in embedded)
        self._meter.took("queue", max(one.waited for one in embedded), seconds)
        self._meter.took("embed", max(one.took for one in embedded), seconds)
        return embedded

    def _square(self, preprocess: Preprocess, image: BinaryIO, number: int, region: Region | None) -> Square:
        with self._meter.stage("decode"):
            content = image.read()
            picture = checked_picture(content, number, self._settings.max_pixels)
            try:
                return preprocess.pixels(picture if region is None else region.cut(decode(picture)))
            except ImageError as error:
                raise Problem(422, f"image {number}: {error}") from None

    def _batcher(self, encoder: QueryEncoder, domain: str | None, *, frozen: bool = False) -> Batcher:
        key = encoder.network_of(domain, frozen=frozen)
        with self._making:
            if key not in self._batchers:
                engine = encoder.engine_of(domain, frozen=frozen)
                # On a CPU each core runs batches of its own. A GPU runs one after the other, as large as there are
                # images, while the next one is decoded on all cores.
                on_cpu = engine.name == "onnxruntime"
                self._batchers[key] = Batcher(
                    engine.run,
                    size=engine.batch_size,
                    threads=self._threads if on_cpu else 2,
                    limit=self._settings.queue,
                    meter=self._meter,
                    decoders=None if on_cpu else self._decoders,
                )
            return self._batchers[key]
