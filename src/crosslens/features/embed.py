"""The embedding job: decode and run a backbone over a catalog, in parallel, resumable, in bounded memory."""

from __future__ import annotations

import time
from array import array
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import lru_cache
from math import ceil
from typing import overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
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

_PART = 1 << 16
"""Images whose paths and states are held at once."""


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

    Memory is bounded by ``shard_size``, the batches in flight and the part of the images that is looked at,
    whatever their number, but for the catalog itself and Arrow's columns of ids and stamps.

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
    config = FeatureConfig.of(backbone, views, augmentation, seed)
    return embed_and_open(
        catalog,
        backbone,
        folder,
        config,
        shard_size=shard_size,
        retry=retry,
        wait=wait,
        join=join,
        runner=runner or OnThreads(workers, device),
    )[0]


def embed_and_open(
    catalog: Catalog,
    backbone: Backbone,
    folder: Place,
    config: FeatureConfig,
    *,
    runner: Runner,
    shard_size: int = 2048,
    retry: bool = True,
    wait: bool = False,
    join: Sequence[Place] = (),
) -> tuple[EmbedReport, FeatureStore]:
    """What ``embed_catalog`` does, with the folder as it is afterwards; ``config`` says what the vectors are."""
    started = time.perf_counter()
    _require_whole(folder)
    folder.mkdir(parents=True, exist_ok=True)
    report = EmbedReport(folder, left_out=dict(catalog.left_out))
    store, images = FeatureStore.create(folder, config), _Images(catalog)
    todo, failed = _check(images, store, retry)
    if join or len(todo) or store.damaged:
        try:
            with lock_of(folder).acquire(timeout=-1 if wait else 0):
                # Read again: another process may have embedded some of them while this one waited.
                store, images = FeatureStore.create(folder, config), _Images(catalog)
                if store.drop_damaged():
                    note("damaged shards were dropped; their images are embedded again")
                if join:
                    store.join(join)
                todo, failed = _check(images, store, retry)
                if len(todo):
                    with runner.start(backbone, store.config) as crew:
                        failed += _run(_Batches(images, todo, crew, store.config), crew, store, report, shard_size)
        except Timeout:
            raise FeatureError(
                f"another process is writing to {folder}; wait for it or choose another folder"
            ) from None
    report.skipped = _in_order(failed)
    report.reused = len(catalog) - report.embedded - len(report.skipped)
    report.seconds = time.perf_counter() - started
    return report, store


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

    Of every image its id and stamp are held, in Arrow's memory, nothing else. The runner is started once for all.

    Args:
        catalogs: are taken as they come; ids must not repeat.
        backbone, folder, views, shard_size, runner: see ``embed_catalog``.

    Raises:
        CatalogError: for an id that two of them have; what was embedded before stays.
        FeatureError, FingerprintError, CrosslensError: as ``embed_catalog``.
    """
    started = time.perf_counter()
    report, seen = EmbedReport(folder), pa.chunked_array([], pa.string())
    _require_whole(folder)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with lock_of(folder).acquire(timeout=0), ExitStack() as started_once:
            store = FeatureStore.create(folder, FeatureConfig.of(backbone, views))
            if store.drop_damaged():
                note("damaged shards were dropped; their images are embedded again")
            crew: Crew | None = None
            for catalog in catalogs:
                ids = catalog.table.column("id")
                if repeated := ids.filter(pc.is_in(ids, value_set=seen)).to_pylist():
                    raise CatalogError(f"the id {min(repeated)!r} occurs twice; every image needs one of its own")
                seen = pa.chunked_array([*seen.chunks, *ids.chunks], pa.string())
                images = _Images(catalog)
                todo, failed = _check(images, store, retry=True)
                if len(todo):
                    crew = crew or started_once.enter_context(
                        (runner or OnThreads()).start(backbone, store.config)
                    )
                    failed += _run(_Batches(images, todo, crew, store.config), crew, store, report, shard_size)
                report.skipped += _in_order(failed)
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


def lacking(catalog: Catalog, store: FeatureStore) -> Catalog:
    """The images that a folder has no features of, as they are now."""
    return catalog.take(_check(_Images(catalog), store, retry=True)[0])


_Failed = list[tuple[int, Skipped]]
"""Images without features, by their row in the catalog."""


class _Images:
    """The images of a catalog as they are now; of a large one, only some parts are held."""

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog
        # Two, since a batch may lie on their border, and its pictures are on their way while others are embedded.
        self._part = lru_cache(maxsize=2)(self._look)

    def __getitem__(self, row: int) -> Item:
        return self._part(row // _PART)[row % _PART]

    def parts(self) -> Iterator[tuple[int, list[Item]]]:
        """The first row of each part, and its images."""
        for number in range(ceil(len(self.catalog) / _PART)):
            yield number * _PART, self._part(number)

    def _look(self, number: int) -> list[Item]:
        return list(items_of(self.catalog.part(number * _PART, _PART)))


class _Batches(Sequence[list[Item]]):
    """The images of some rows, a batch after the other, made when they are asked for.

    Args:
        images: of a catalog.
        rows: those to embed ``(n,)``, rising.
        crew: says how large a batch is.
        config: says how many views an image has.
    """

    def __init__(self, images: _Images, rows: Sequence[int], crew: Crew, config: FeatureConfig) -> None:
        self.images, self.rows = images, rows
        self.size = max(1, crew.batch_size // (1 + config.views))

    def __len__(self) -> int:
        return ceil(len(self.rows) / self.size)

    @overload
    def __getitem__(self, number: int) -> list[Item]: ...
    @overload
    def __getitem__(self, number: slice) -> list[list[Item]]: ...
    def __getitem__(self, number: int | slice) -> list[Item] | list[list[Item]]:
        if isinstance(number, slice):
            return [self[one] for one in range(*number.indices(len(self)))]
        if number >= len(self):
            raise IndexError(number)
        return [self.images[row] for row in self.rows_of(number)]

    def rows_of(self, number: int) -> Sequence[int]:
        """The rows of a batch in the catalog."""
        return self.rows[number * self.size : (number + 1) * self.size]


def _check(images: _Images, store: FeatureStore, retry: bool) -> tuple[Sequence[int], _Failed]:
    """Rows of images without features or changed since; unless ``retry``, those that failed as they are, apart."""
    places = store.locate(images.catalog.table.column("id"))
    todo, failed = array("q"), _Failed()
    for start, items in images.parts():
        stamps = store.stamps(places[start : start + len(items)])
        for row, (item, stamp) in enumerate(zip(items, stamps, strict=True), start):
            if item.has(stamp):
                continue
            entry = None if retry else store.failure(item.id)
            if entry is not None and item.has(entry.stamp):
                failed.append((row, entry))
            else:
                todo.append(row)
    return todo, failed


def _in_order(failed: _Failed) -> list[Skipped]:
    return [entry for _, entry in sorted(failed, key=lambda one: one[0])]


def _run(batches: _Batches, crew: Crew, store: FeatureStore, report: EmbedReport, shard_size: int) -> _Failed:
    """Embed, write shards and count; gives what failed."""
    shards = _Shards(store, len(batches), ceil(shard_size / batches.size), report, crew.stages)
    failed: _Failed = []
    with progress(len(batches.rows), "embedding") as advance:
        try:
            for number, batch in crew.run(batches):
                shards.add(number, batch)
                if batch.skipped:
                    rows = {batches.images[row].id: row for row in batches.rows_of(number)}
                    failed += [(rows[entry.id], entry) for entry in batch.skipped]
                for entry in batch.skipped:
                    tell_skip(reason_of(entry.reason, entry.path))
                advance(len(batch), f"{len(failed)} skipped" if failed else "")
        finally:
            # An interrupt keeps what is finished: shards are written as far as they are there.
            shards.write_all()
            report.stages = dict(crew.stages.seconds)
    return failed


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
