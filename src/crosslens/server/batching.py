"""Embedding images of many requests together: the encoder is at its best on batches of several."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from crosslens.server.problems import busy

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from crosslens.server.metrics import Meter

    Square = NDArray[np.uint8]


@dataclass(eq=False)
class _Waiting:
    decode: Callable[[], Square]
    done: Future[Embedded]
    since: float = field(default_factory=time.perf_counter)


@dataclass(frozen=True)
class Embedded:
    """One image that went through the network.

    Attributes:
        features: ``(D,)``.
        square: what went in, ``(H, W, 3)``.
        waited: seconds until its batch began, without those of its decoding.
        decoded: seconds of its decoding.
        took: seconds that the batch took.
    """

    features: NDArray[np.float32]
    square: Square
    waited: float
    decoded: float
    took: float


class Batcher:
    """Threads that take what is waiting, up to ``size`` images, decode it, and run the network once on it.

    While a thread decodes, further images arrive, and while all are busy, images gather: a batch begins when it is
    full or none waits any more.

    Args:
        run: squares ``(N, H, W, 3)`` uint8 to features ``(N, D)``; several threads call it at once.
        size: most images of a batch.
        threads: batches that are made at once.
        limit: most images that wait.
        meter: where batch sizes and the queue's length go.
        decoders: decode all that a thread takes side by side; without them it decodes one after the other, and
            takes each when it comes to it, so that free threads share what waits.
    """

    def __init__(
        self,
        run: Callable[[Square], NDArray[np.float32]],
        *,
        size: int,
        threads: int,
        limit: int,
        meter: Meter,
        decoders: Executor | None = None,
    ) -> None:
        self._run, self.size, self._limit, self._meter, self._decoders = run, size, limit, meter, decoders
        self._queue: deque[_Waiting] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._threads = [
            threading.Thread(target=self._work, name=f"embed-{number}", daemon=True) for number in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, decode: Sequence[Callable[[], Square]]) -> list[Future[Embedded]]:
        """Put the images of a request in the queue, all or none; cancel what nobody wants any more.

        Args:
            decode: for each image what gives its square ``(H, W, 3)``; what it raises, the image's future raises.

        Raises:
            Problem: 503 when too many wait, or the server stops.
        """
        with self._changed:
            if self._closed or len(self._queue) + len(decode) > self._limit:
                raise busy("the encoder has too much to do; try again")
            return [self._put(one) for one in decode]

    def patiently(self, decode: Callable[[], Square]) -> Future[Embedded]:
        """Like ``submit`` with one image, but waits until there is room.

        Raises:
            Problem: 503 when the server stops.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._closed or len(self._queue) < self._limit)
            if self._closed:
                raise busy("the server stops")
            return self._put(decode)

    def close(self) -> None:
        """Run what is waiting, then stop."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _put(self, decode: Callable[[], Square]) -> Future[Embedded]:
        waiting = _Waiting(decode, Future())
        self._queue.append(waiting)
        self._meter.queued_images.set(len(self._queue))
        self._changed.notify_all()
        return waiting.done

    def _work(self) -> None:
        while (batch := self._gather()) is not None:
            if batch:
                self._embed(batch)

    def _gather(self) -> list[_Decoded] | None:
        """Decoded images of the next batch, none where all were in vain; None when the server stops."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._queue)
            if not self._queue:
                return None
        batch: list[_Decoded] = []
        while taken := self._take(self.size - len(batch)):
            # Free threads share what waits: each takes an image when it comes to it.
            decoded = map(_decode, taken) if self._decoders is None else self._decoders.map(_decode, taken)
            batch += [one for one in decoded if one is not None]
        return batch

    def _take(self, most: int) -> list[_Waiting]:
        """Images that wait and are still wanted."""
        taken: list[_Waiting] = []
        wanted = min(most, 1) if self._decoders is None else most
        with self._changed:
            while self._queue and len(taken) < wanted:
                waiting = self._queue.popleft()
                if waiting.done.set_running_or_notify_cancel():
                    taken.append(waiting)
            self._meter.queued_images.set(len(self._queue))
            self._changed.notify_all()
        return taken

    def _embed(self, batch: list[_Decoded]) -> None:
        started = time.perf_counter()
        try:
            features = self._run(np.stack([one.square for one in batch]))
        except Exception as error:
            # Whatever the engine raises belongs to the requests; the thread serves the next batch.
            for one in batch:
                one.waiting.done.set_exception(error)
            return
        took = time.perf_counter() - started
        self._meter.batch_images.observe(len(batch))
        for one, row in zip(batch, features, strict=True):
            waited = started - one.waiting.since - one.seconds
            one.waiting.done.set_result(Embedded(row, one.square, waited, one.seconds, took))


class _Decoded(NamedTuple):
    waiting: _Waiting
    square: Square
    seconds: float


def _decode(waiting: _Waiting) -> _Decoded | None:
    started = time.perf_counter()
    try:
        square = waiting.decode()
    except Exception as error:
        waiting.done.set_exception(error)
        return None
    return _Decoded(waiting, square, time.perf_counter() - started)
