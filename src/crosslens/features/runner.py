"""Who embeds: threads of this process, or others that give the same batches."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

from crosslens.backbones.base import Backbone
from crosslens.backbones.devices import cpu_workers
from crosslens.backbones.engine import make_engine
from crosslens.features.store import FeatureConfig
from crosslens.features.work import Batch, Decoder, Item, Stages, Tower, sent_for


class Crew(Protocol):
    """A runner at work.

    Attributes:
        batch_size: squares a batch should have, those of views counted.
        stages: what its workers spent so far.
    """

    batch_size: int
    stages: Stages

    def run(self, batches: Sequence[list[Item]]) -> Iterator[tuple[int, Batch]]:
        """What became of each batch, with its number, once each; in whatever order they are done.

        Only so many batches are under way as keep the workers busy, however slowly the results are taken.
        """
        ...


class Runner(Protocol):
    """A way to embed batches of images."""

    def start(self, backbone: Backbone, config: FeatureConfig) -> AbstractContextManager[Crew]:
        """Get ready for a job; what was started ends with the ``with``."""
        ...


@dataclass(frozen=True)
class OnThreads:
    """Threads of this process.

    Each decodes a small batch and runs the backbone on it, so that decoding overlaps with inference.

    Attributes:
        workers: how many; one a processor by default.
        device: see ``crosslens.backbones.engine.make_engine``.
    """

    workers: int | None = None
    device: str | None = None

    @contextmanager
    def start(self, backbone: Backbone, config: FeatureConfig) -> Iterator[Crew]:
        """Open the engine, and the threads."""
        engine = make_engine(backbone, self.device)
        workers = self.workers or cpu_workers()
        stages = Stages()
        decode, infer = Decoder(backbone.preprocess, config, stages), Tower(engine, config, stages)
        with ThreadPoolExecutor(workers) as pool:
            yield _Threads(pool, workers, engine.batch_size, stages, decode, infer)


@dataclass
class _Threads:
    pool: ThreadPoolExecutor
    workers: int
    batch_size: int
    stages: Stages
    decode: Decoder
    infer: Tower

    def run(self, batches: Sequence[list[Item]]) -> Iterator[tuple[int, Batch]]:
        waiting = enumerate(sent_for(batches))
        running: deque[tuple[int, Future[Batch]]] = deque()
        try:
            while True:
                for number, sent in islice(waiting, 2 * self.workers - len(running)):
                    running.append((number, self.pool.submit(self._work, *sent)))
                if not running:
                    return
                number, future = running.popleft()
                yield number, future.result()
        finally:
            for _, future in running:
                future.cancel()

    def _work(self, items: list[Item], contents: list[Future[bytes] | None]) -> Batch:
        return self.infer(self.decode(items, contents))
