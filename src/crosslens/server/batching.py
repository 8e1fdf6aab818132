"""Embedding images of many requests together: the encoder is at its best on batches of several."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from crosslens.server.problems import busy

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from crosslens.server.metrics import Meter


@dataclass
class _Waiting:
    pixels: NDArray[np.uint8]
    done: Future[Embedded]
    since: float = field(default_factory=time.perf_counter)


@dataclass(frozen=True)
class Embedded:
    """One image that went through the network.

    Attributes:
        features: ``(D,)``.
        waited: seconds until its batch began.
        took: seconds that the batch took.
    """

    features: NDArray[np.float32]
    waited: float
    took: float


class Batcher:
    """Threads that take what is waiting, up to ``size`` images, and run the network once on it.

    A batch begins when it is full, when no further image is on its way, or ``wait`` seconds after its first one.
    While all threads are busy, images gather by themselves; a thread leaves the free ones their share of them.

    Args:
        run: squares ``(N, H, W, 3)`` uint8 to features ``(N, D)``; several threads call it at once.
        size: most images of a batch.
        threads: batches that run at once.
        wait: seconds.
        limit: most images that wait.
        meter: where batch sizes and the queue's length go.
    """

    def __init__(
        self,
        run: Callable[[NDArray[np.uint8]], NDArray[np.float32]],
        *,
        size: int,
        threads: int,
        wait: float,
        limit: int,
        meter: Meter,
    ) -> None:
        self._run, self.size, self._wait, self._limit, self._meter = run, size, wait, limit, meter
        self._queue: deque[_Waiting] = deque()
        self._changed = threading.Condition()
        self._gathering = threading.Lock()
        self._coming = self._running = 0
        self._closed = False
        self._threads = [
            threading.Thread(target=self._work, name=f"embed-{number}", daemon=True) for number in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    @contextmanager
    def coming(self, images: int) -> Iterator[None]:
        """Say that ``images`` are being decoded and will be submitted soon.

        Raises:
            Problem: 503 when too many wait already.
        """
        with self._changed:
            if self._closed or len(self._queue) + self._coming + images > self._limit:
                raise busy("the encoder has too much to do; try again")
            self._coming += images
        try:
            yield
        finally:
            with self._changed:
                self._coming -= images
                self._changed.notify_all()

    def submit(self, pixels: NDArray[np.uint8]) -> Future[Embedded]:
        """Put one square ``(H, W, 3)`` in the queue; cancel the future when nobody wants it any more.

        Raises:
            Problem: 503 when too many wait, or the server stops.
        """
        waiting = _Waiting(pixels, Future())
        with self._changed:
            if self._closed or len(self._queue) >= self._limit:
                raise busy("the encoder has too much to do; try again")
            self._put(waiting)
        return waiting.done

    def patiently(self, pixels: NDArray[np.uint8]) -> Future[Embedded]:
        """Like ``submit``, but waits until there is room.

        Raises:
            Problem: 503 when the server stops.
        """
        waiting = _Waiting(pixels, Future())
        with self._changed:
            self._changed.wait_for(lambda: self._closed or len(self._queue) < self._limit)
            if self._closed:
                raise busy("the server stops")
            self._put(waiting)
        return waiting.done

    def close(self) -> None:
        """Run what is waiting, then stop."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _put(self, waiting: _Waiting) -> None:
        self._queue.append(waiting)
        self._meter.queued_images.set(len(self._queue))
        self._changed.notify_all()

    def _work(self) -> None:
        while True:
            # One thread gathers at a time, else two would split what makes one batch.
            with self._gathering:
                batch = self._gather()
            if batch is None:
                return
            if batch:
                self._embed(batch)
            with self._changed:
                self._running -= 1

    def _gather(self) -> list[_Waiting] | None:
        with self._changed:
            while not self._queue and not self._closed:
                self._changed.wait()
            if not self._queue:
                return None
            deadline = time.perf_counter() + self._wait
            while len(self._queue) < self.size and self._coming and not self._closed:
                left = deadline - time.perf_counter()
                if left <= 0:
                    break
                self._changed.wait(left)
            share = math.ceil(len(self._queue) / (len(self._threads) - self._running))
            taken = [self._queue.popleft() for _ in range(min(self.size, share))]
            self._running += 1
            self._meter.queued_images.set(len(self._queue))
            self._changed.notify_all()
        return [waiting for waiting in taken if waiting.done.set_running_or_notify_cancel()]

    def _embed(self, batch: list[_Waiting]) -> None:
        started = time.perf_counter()
        try:
            features = self._run(np.stack([waiting.pixels for waiting in batch]))
        except Exception as error:
            # Whatever the engine raises belongs to the requests; the thread serves the next batch.
            for waiting in batch:
                waiting.done.set_exception(error)
            return
        took = time.perf_counter() - started
        self._meter.batch_images.observe(len(batch))
        for waiting, row in zip(batch, features, strict=True):
            waiting.done.set_result(Embedded(row, started - waiting.since, took))
