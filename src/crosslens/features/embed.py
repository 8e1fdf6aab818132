"""The embedding job: decode and run a backbone over a catalog, in parallel, resumable, in bounded memory."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from math import ceil

import numpy as np
from filelock import Timeout

from crosslens.backbones.base import Backbone
from crosslens.data.catalog import Catalog
from crosslens.features.runner import Crew, OnThreads, Runner
from crosslens.features.store import PLAN, FeatureConfig, FeatureStore, Skipped
from crosslens.features.work import Batch, Item, Stages, items_of
from crosslens.images.augment import Augmentation
from crosslens.support.addresses import Place
from crosslens.support.errors import CatalogError, FeatureError
from crosslens.support.jobs import reason_of
from crosslens.support.local_copy import lock_of
from crosslens.support.progress import note, progress, tell_skip


@dataclass
class EmbedReport:
    """What an embedding job did.

    Attributes:
        folder: the feature folder.
        embedded: images embedded in this call.
        reused: images that were there already and unchanged.
        skipped: images that have no features as they are now, and why; those of an earlier state do not count.
        seconds: wall-clock seconds of this call.
        stages: seconds spent per stage, summed over workers: ``read``, ``decode``, ``augment``,
            ``infer``, ``write``.
        left_out: pictures that the reader of the folder left out, by suffix.
    """

    folder: Place
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


def embed_catalog(
    catalog: Catalog,
    backbone: Backbone,
    folder: Place,
    *,
    views: int = 0,
    augmentation: Augmentation | None = None,
    seed: int = 0,
    shard_size: int = 2048,
    workers: int | None = None,
    device: str | None = None,
    retry: bool = True,
    wait: bool = False,
    join: Sequence[Place] = (),
    runner: Runner | None = None,
) -> EmbedReport:
    """Embed every image of ``catalog`` that ``folder`` lacks; images that failed before are tried again.

    Memory is bounded by ``shard_size`` and the batches in flight, whatever the number of images.

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
        runner: who does the work; by default threads of this process, which ``workers`` and ``device`` are of.

    Raises:
        FeatureError: when another process writes to the folder.
        FingerprintError: when the folder holds another backbone's vectors.
        CrosslensError: when the disk is full; finished shards stay.
    """
    started = time.perf_counter()
    config = FeatureConfig.of(backbone, views, augmentation, seed)
    _require_whole(folder)
    folder.mkdir(parents=True, exist_ok=True)
    report = EmbedReport(folder, left_out=dict(catalog.left_out))
    store = FeatureStore.create(folder, config)
    items = list(items_of(catalog))
    if join or _todo(items, store, retry) or store.damaged:
        try:
            with lock_of(folder).acquire(timeout=-1 if wait else 0):
                # Read again: another process may have embedded some of them while this one waited.
                store = FeatureStore.create(folder, config)
                if store.drop_damaged():
                    note("damaged shards were dropped; their images are embedded again")
                if join:
                    store.join(join)
                items = list(items_of(catalog))
                todo = _todo(items, store, retry)
                if todo:
                    with (runner or OnThreads(workers, device)).start(backbone, store.config) as crew:
                        _run(todo, crew, store, report, shard_size)
        except Timeout:
            raise FeatureError(
                f"another process is writing to {folder}; wait for it or choose another folder"
            ) from None
    report.skipped = [entry for item in items if (entry := _failure(item, store)) is not None]
    report.reused = len(catalog) - report.embedded - len(report.skipped)
    report.seconds = time.perf_counter() - started
    return report


def embed_in_turn(
    catalogs: Iterable[Catalog],
    backbone: Backbone,
    folder: Place,
    *,
    views: int = 0,
    shard_size: int = 2048,
    runner: Runner | None = None,
) -> EmbedReport:
    """Embed catalogs one after the other, such as the parts of a table that is larger than memory.

    Of every image its id and stamp are held, nothing else. The runner is started once for all of them.

    Args:
        catalogs: are taken as they come; ids must not repeat.
        backbone, folder, views, shard_size, runner: see ``embed_catalog``.

    Raises:
        CatalogError: for an id that two of them have; what was embedded before stays.
        FeatureError, FingerprintError, CrosslensError: as ``embed_catalog``.
    """
    started = time.perf_counter()
    report, seen = EmbedReport(folder), set[str]()
    _require_whole(folder)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with lock_of(folder).acquire(timeout=0), ExitStack() as started_once:
            store = FeatureStore.create(folder, FeatureConfig.of(backbone, views))
            if store.drop_damaged():
                note("damaged shards were dropped; their images are embedded again")
            crew: Crew | None = None
            for catalog in catalogs:
                if repeated := seen.intersection(catalog.ids):
                    raise CatalogError(f"the id {min(repeated)!r} occurs twice; every image needs one of its own")
                seen.update(catalog.ids)
                items = list(items_of(catalog))
                todo = _todo(items, store, retry=True)
                if todo:
                    crew = crew or started_once.enter_context(
                        (runner or OnThreads()).start(backbone, store.config)
                    )
                    _run(todo, crew, store, report, shard_size)
                report.skipped += [entry for item in items if (entry := _failure(item, store)) is not None]
                note(f"{len(seen)} images seen, {report.embedded} of them embedded now")
    except Timeout:
        raise FeatureError(f"another process is writing to {folder}; wait for it or choose another") from None
    report.reused = len(seen) - report.embedded - len(report.skipped)
    report.seconds = time.perf_counter() - started
    return report


def _require_whole(folder: Place) -> None:
    if (folder / PLAN).exists():
        raise FeatureError(
            f"{folder} is being made in parts: make one of them with 'crosslens embed --join {folder}', or remove"
            f" {(folder / PLAN).parent} to do without them"
        )


def _todo(items: list[Item], store: FeatureStore, retry: bool) -> list[Item]:
    """Images without features or changed since; with ``retry`` also those that failed and did not change."""
    wanted = [item for item in items if not item.has(store.stamp(item.id))]
    return wanted if retry else [item for item in wanted if not _failed(item, store)]


def _failed(item: Item, store: FeatureStore) -> bool:
    entry = store.failure(item.id)
    return entry is not None and item.has(entry.stamp)


def _failure(item: Item, store: FeatureStore) -> Skipped | None:
    """Why an image has no features as it is now; None when it has."""
    if item.has(store.stamp(item.id)):
        return None
    if _failed(item, store):
        return store.failure(item.id)
    return Skipped(item.id, str(item.path), f"{item.path} was changed meanwhile", item.stamp)


def _run(todo: list[Item], crew: Crew, store: FeatureStore, report: EmbedReport, shard_size: int) -> None:
    step = max(1, crew.batch_size // (1 + store.config.views))
    batches = [todo[start : start + step] for start in range(0, len(todo), step)]
    shards = _Shards(store, len(batches), ceil(shard_size / step), report, crew.stages)
    skipped = 0
    with progress(len(todo), "embedding") as advance:
        try:
            for number, batch in crew.run(batches):
                shards.add(number, batch)
                skipped += len(batch.skipped)
                for entry in batch.skipped:
                    tell_skip(reason_of(entry.reason, entry.path))
                advance(len(batch), f"{skipped} skipped" if skipped else "")
        finally:
            # An interrupt keeps what is finished: shards are written as far as they are there.
            shards.write_all()
            report.stages = dict(crew.stages.seconds)


class _Shards:
    """Batches, in whatever order they come, that wait to become shards in the order of the images."""

    def __init__(
        self, store: FeatureStore, batches: int, batches_a_shard: int, report: EmbedReport, stages: Stages
    ) -> None:
        self._store, self._report, self._stages = store, report, stages
        self._batches, self._size = batches, batches_a_shard
        self._first = store.next_number
        self._waiting: dict[int, dict[int, Batch]] = {}

    def add(self, number: int, batch: Batch) -> None:
        """Take in a batch; with the last one of its shard, that is written."""
        shard = number // self._size
        waiting = self._waiting.setdefault(shard, {})
        waiting[number] = batch
        if len(waiting) == min(self._size, self._batches - shard * self._size):
            self._write(shard)

    def write_all(self) -> None:
        """Write what waits, whole or not."""
        for shard in sorted(self._waiting):
            self._write(shard)

    def _write(self, shard: int) -> None:
        batches = [batch for _, batch in sorted(self._waiting.pop(shard).items())]
        items = [item for batch in batches for item in batch.items]
        # A failure that is known already needs no second mark.
        skipped = [entry for batch in batches for entry in batch.skipped if self._store.failure(entry.id) != entry]
        if not items and not skipped:
            return
        with self._stages.timed("write"):
            self._store.add_shard(
                [item.id for item in items],
                [f"{item.stamp}|{item.content}" for item in items],
                np.concatenate([batch.features for batch in batches]),
                skipped,
                number=self._first + shard,
            )
        self._report.embedded += len(items)
