"""The embedding job: decode and run a backbone over a catalog, in parallel, resumable, in bounded memory."""

from __future__ import annotations

import hashlib
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from filelock import FileLock, Timeout

from crosslens.backbones.base import Backbone
from crosslens.backbones.devices import cpu_workers
from crosslens.backbones.engine import make_engine
from crosslens.backbones.graphs import Engine
from crosslens.data.catalog import Catalog
from crosslens.features.store import FeatureConfig, FeatureStore, Skipped
from crosslens.images.augment import Augmentation
from crosslens.support.errors import FeatureError, ImageError
from crosslens.support.file_stamp import FileStamp, content_digest, stamp_of
from crosslens.support.progress import note, progress

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass
class EmbedReport:
    """What an embedding job did.

    Attributes:
        folder: the feature folder.
        embedded: images embedded in this call.
        reused: images that were there already and unchanged.
        skipped: images that have no features as they are now, and why; those of an earlier state do not count.
        seconds: wall-clock seconds of this call.
        stages: seconds spent per stage, summed over workers: ``decode``, ``augment``, ``infer``, ``write``.
        left_out: pictures that the reader of the folder left out, by suffix.
    """

    folder: Path
    embedded: int = 0
    reused: int = 0
    skipped: list[Skipped] = field(default_factory=list)
    seconds: float = 0.0
    stages: dict[str, float] = field(default_factory=dict)
    left_out: dict[str, int] = field(default_factory=dict)

    @property
    def rates(self) -> dict[str, float]:
        """Images per second: ``total`` by the clock, and what one worker reaches in each stage."""
        rates = {"total": self.embedded / self.seconds if self.seconds else 0.0}
        for stage, seconds in self.stages.items():
            rates[stage] = self.embedded / seconds if seconds else 0.0
        return rates


@dataclass(frozen=True)
class _Item:
    """An image as it is on disk now; ``state`` is None where there is no file."""

    id: str
    path: Path
    relative: str
    state: FileStamp | None

    @property
    def stamp(self) -> str:
        # The job itself reports why a file cannot be read.
        return f"{self.relative}|{'missing' if self.state is None else self.state}"

    @cached_property
    def content(self) -> str:
        """The digest of the file's bytes; empty where they cannot be read."""
        try:
            return content_digest(self.path)
        except OSError:
            return ""

    def has(self, stamp: str | None) -> bool:
        """Whether a stamp is of this very image: the same file, or one of the same content."""
        if stamp is None or not stamp.startswith(f"{self.relative}|"):
            return False
        known = stamp.removeprefix(f"{self.relative}|").split("|")
        if self.state is None:
            return known == ["missing"]
        now = [str(part) for part in self.state]
        # A stamp of size and time alone is an older version's.
        if known in (now[:2], now) or known[:-1] == now:
            return True
        # A copy is another file, but embedding it again would give what is there.
        return len(known) == len(now) + 1 and known[0] == now[0] and known[-1] == self.content


@dataclass
class _Batch:
    items: list[_Item]
    features: NDArray[np.float32]
    skipped: list[Skipped]


def embed_catalog(
    catalog: Catalog,
    backbone: Backbone,
    folder: Path,
    *,
    views: int = 0,
    augmentation: Augmentation | None = None,
    seed: int = 0,
    shard_size: int = 2048,
    workers: int | None = None,
    device: str | None = None,
    retry: bool = True,
    wait: bool = False,
    join: Sequence[Path] = (),
) -> EmbedReport:
    """Embed every image of ``catalog`` that ``folder`` lacks; images that failed before are tried again.

    Each of ``workers`` threads decodes a small batch and runs the backbone on it, so decoding overlaps with
    inference. Memory is bounded by ``shard_size`` and the batches in flight, whatever the number of images.

    Args:
        catalog: N images.
        backbone: gives D-dimensional features.
        folder: the feature folder; made when missing, continued when not.
        views: V random views beside the centre view.
        augmentation: how views are drawn; MoCo v2's recipe by default.
        seed: of the random views; a view depends on it, the image's id and the view's number alone.
        shard_size: images per shard; what a killed job loses at most.
        workers: threads; one a processor by default.
        device: see ``crosslens.backbones.engine.make_engine``.
        retry: try images again that failed before and did not change since.
        wait: for another process that writes to the folder, instead of an error.
        join: feature folders whose shards are taken in first, as of several machines that shared the images.

    Raises:
        FeatureError: when another process writes to the folder.
        FingerprintError: when the folder holds another backbone's vectors.
        CrosslensError: when the disk is full; finished shards stay.
    """
    started = time.perf_counter()
    config = FeatureConfig(
        fingerprint=backbone.fingerprint,
        views=views,
        augmentation=(augmentation or Augmentation()) if views else None,
        seed=seed if views else 0,
    )
    folder.mkdir(parents=True, exist_ok=True)
    report = EmbedReport(folder, left_out=dict(catalog.left_out))
    store = FeatureStore.create(folder, config)
    if join:
        with FileLock(folder / ".lock", timeout=-1 if wait else 0):
            store.join(join)
    items = list(_items(catalog))
    if _todo(items, store, retry) or store.damaged:
        try:
            with FileLock(folder / ".lock", timeout=-1 if wait else 0):
                # Read again: another process may have embedded some of them while this one waited.
                store = FeatureStore.create(folder, config)
                if store.drop_damaged():
                    note("damaged shards were dropped; their images are embedded again")
                items = list(_items(catalog))
                todo = _todo(items, store, retry)
                if todo:
                    _run(todo, backbone, store, report, shard_size, workers or cpu_workers(), device)
        except Timeout:
            raise FeatureError(
                f"another process is writing to {folder}; wait for it or choose another folder"
            ) from None
    report.skipped = [entry for item in items if (entry := _failure(item, store)) is not None]
    report.reused = len(catalog) - report.embedded - len(report.skipped)
    report.seconds = time.perf_counter() - started
    return report


def _todo(items: list[_Item], store: FeatureStore, retry: bool) -> list[_Item]:
    """Images without features or changed since; with ``retry`` also those that failed and did not change."""
    wanted = [item for item in items if not item.has(store.stamp(item.id))]
    return wanted if retry else [item for item in wanted if not _failed(item, store)]


def _failed(item: _Item, store: FeatureStore) -> bool:
    entry = store.failure(item.id)
    return entry is not None and item.has(entry.stamp)


def _failure(item: _Item, store: FeatureStore) -> Skipped | None:
    """Why an image has no features as it is now; None when it has."""
    if item.has(store.stamp(item.id)):
        return None
    if _failed(item, store):
        return store.failure(item.id)
    return Skipped(item.id, str(item.path), f"{item.path} was changed meanwhile", item.stamp)


def _run(
    todo: list[_Item],
    backbone: Backbone,
    store: FeatureStore,
    report: EmbedReport,
    shard_size: int,
    workers: int,
    device: str | None,
) -> None:
    engine = make_engine(backbone, device)
    per_image = 1 + store.config.views
    work = _Work(backbone, engine, store.config)
    pending = _Pending()
    step = max(1, engine.batch_size // per_image)
    with progress(len(todo), "embedding") as advance, ThreadPoolExecutor(workers) as pool:
        try:
            for batch in _in_order(pool, work, _batched(todo, step), in_flight=2 * workers):
                pending.add(batch)
                advance(len(batch.items) + len(batch.skipped))
                if pending.size >= shard_size:
                    pending.flush(store, report, work)
        finally:
            # An interrupt keeps what is finished: the shard so far is written before the error goes on.
            pending.flush(store, report, work)
            report.stages = dict(work.seconds)


class _Pending:
    """Batches that wait to become a shard."""

    def __init__(self) -> None:
        self.batches: list[_Batch] = []
        self.size = 0

    def add(self, batch: _Batch) -> None:
        self.batches.append(batch)
        self.size += len(batch.items) + len(batch.skipped)

    def flush(self, store: FeatureStore, report: EmbedReport, work: _Work) -> None:
        batches, self.batches, self.size = self.batches, [], 0
        if not batches:
            return
        items = [item for batch in batches for item in batch.items]
        # A failure that is known already needs no second mark.
        skipped = [entry for batch in batches for entry in batch.skipped if store.failure(entry.id) != entry]
        if not items and not skipped:
            return
        with work.timed("write"):
            store.add_shard(
                [item.id for item in items],
                [f"{item.stamp}|{item.content}" for item in items],
                np.concatenate([batch.features for batch in batches]),
                skipped,
            )
        report.embedded += len(items)


class _Work:
    """What one worker does with one batch."""

    def __init__(self, backbone: Backbone, engine: Engine, config: FeatureConfig) -> None:
        self.preprocess = backbone.preprocess
        self.engine = engine
        self.config = config
        self.seconds = {"decode": 0.0, "augment": 0.0, "infer": 0.0, "write": 0.0}
        self._lock = threading.Lock()

    def __call__(self, items: list[_Item]) -> _Batch:
        squares: list[NDArray[np.uint8]] = []
        kept: list[_Item] = []
        skipped: list[Skipped] = []
        for item in items:
            try:
                squares.extend(self._squares(item))
                kept.append(item)
            except ImageError as error:
                skipped.append(Skipped(item.id, str(item.path), str(error), item.stamp))
        per_image, dim = 1 + self.config.views, self.config.fingerprint.dim
        if not kept:
            return _Batch([], np.empty((0, per_image, dim), np.float32), skipped)
        with self.timed("infer"):
            rows = self.engine.run(np.stack(squares))
        values = rows.reshape(len(kept), per_image, dim)
        sound = np.array([np.isfinite(own).all() for own in values], bool)
        if not sound.all():
            reason = f"the backbone {self.config.fingerprint.model} gave NaN or infinity"
            skipped += [
                Skipped(item.id, str(item.path), reason, item.stamp)
                for item, fine in zip(kept, sound, strict=True)
                if not fine
            ]
            kept = [item for item, fine in zip(kept, sound, strict=True) if fine]
        return _Batch(kept, values[sound], skipped)

    def _squares(self, item: _Item) -> list[NDArray[np.uint8]]:
        with self.timed("decode"):
            # Before the pixels: a change between the two is then seen the next time.
            _ = item.content
            image = self.preprocess.load(item.path)
            squares = [np.asarray(self.preprocess.square(image), np.uint8)]
        if self.config.augmentation is not None:
            with self.timed("augment"):
                for view in range(self.config.views):
                    rng = view_generator(self.config.seed, item.id, view)
                    drawn = self.config.augmentation.view(image, self.preprocess.crop, rng)
                    squares.append(np.asarray(drawn, np.uint8))
        return squares

    def timed(self, stage: str) -> _Timer:
        return _Timer(self, stage)

    def add_seconds(self, stage: str, seconds: float) -> None:
        with self._lock:
            self.seconds[stage] += seconds


class _Timer:
    def __init__(self, work: _Work, stage: str) -> None:
        self._work, self._stage = work, stage

    def __enter__(self) -> None:
        self._start = time.perf_counter()

    def __exit__(self, *exception: object) -> None:
        self._work.add_seconds(self._stage, time.perf_counter() - self._start)


def view_generator(seed: int, image: str, view: int) -> np.random.Generator:
    """The random generator of one view of one image: the same wherever and whenever it is drawn."""
    digest = hashlib.blake2b(f"{seed}|{view}|{image}".encode(), digest_size=8).digest()
    return np.random.default_rng(int.from_bytes(digest, "little"))


def _items(catalog: Catalog) -> Iterator[_Item]:
    for image, relative in zip(catalog.column("id"), catalog.column("path"), strict=True):
        path = catalog.root / relative
        try:
            state = stamp_of(path)
        except OSError:
            state = None
        yield _Item(image, path, relative, state)


def _batched(items: list[_Item], size: int) -> Iterator[list[_Item]]:
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


def _in_order(
    pool: ThreadPoolExecutor, work: _Work, batches: Iterator[list[_Item]], in_flight: int
) -> Iterator[_Batch]:
    """Run ``work`` on every batch with at most ``in_flight`` under way; results in the order of the batches."""
    running: deque[Future[_Batch]] = deque(pool.submit(work, batch) for batch in islice(batches, in_flight))
    try:
        while running:
            done = running.popleft().result()
            for batch in islice(batches, 1):
                running.append(pool.submit(work, batch))
            yield done
    finally:
        for future in running:
            future.cancel()
