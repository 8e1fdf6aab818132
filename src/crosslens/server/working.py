"""The thread that works on jobs: adds uploaded images and deletes items, one batch after the other."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow as pa
from filelock import FileLock, Timeout
from pydantic import TypeAdapter

from crosslens.encoder.querying import QueryEncoder
from crosslens.images.facts import Facts, read_facts
from crosslens.search.filters.conditions import Filter, In
from crosslens.search.index.index import Index
from crosslens.search.index.items import read_file_columns
from crosslens.search.index.making import upload_of
from crosslens.search.index.own_columns import given_columns, merge, types_of_facts
from crosslens.search.index.pictures import find_fault
from crosslens.search.index.unit_rows import find_faults
from crosslens.search.index.writer_lock import is_being_written
from crosslens.search.query.resolve_domain import resolve_domain
from crosslens.search.stores.base import ITEM_SCHEMA
from crosslens.server.collection import Collection
from crosslens.server.embedding import Embedding
from crosslens.server.jobs import JobTable
from crosslens.server.metrics import Meter
from crosslens.server.schemas import Job
from crosslens.server.uploaded import Addition, Uploaded, ids_of_folders
from crosslens.server.uploads import Uploads
from crosslens.support.errors import AnotherWriterError, CrosslensError, ImageError, StoreError

log = logging.getLogger(__name__)
BATCH = 32
"""Images that are added in one step."""
_FILTER: TypeAdapter[Filter] = TypeAdapter(Filter)


class Worker:
    """Works on the jobs of all collections, in every process; a file lock sees to it that one does at a time.

    Args:
        collections: by name.
        tables: their jobs.
        uploads: their uploaded files.
        embedding: makes vectors.
        meter: counts ended jobs.
        poll: seconds between two looks for jobs that other processes queued.
    """

    def __init__(
        self,
        collections: dict[str, Collection],
        tables: dict[str, JobTable],
        uploads: dict[str, Uploads],
        embedding: Embedding,
        meter: Meter,
        poll: float = 1.0,
    ) -> None:
        self._collections, self._tables, self._uploads = collections, tables, uploads
        self._embedding, self._meter, self._poll = embedding, meter, poll
        self._stopping = threading.Event()
        self._news = threading.Event()
        self._thread = threading.Thread(target=self._run, name="jobs", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def wake(self) -> None:
        """A job was queued here."""
        self._news.set()

    def stop(self) -> None:
        """Finish the batch at hand; the rest of its job waits for the next start."""
        self._stopping.set()
        self._news.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._news.wait(self._poll)
            self._news.clear()
            for name in self._collections:
                try:
                    self._work_on(name)
                except Exception:
                    # The thread must outlive any one job; what failed is in the log and in the job.
                    log.exception("jobs of %s could not be worked on", name)

    def _work_on(self, name: str) -> None:
        table = self._tables[name]
        collection = self._collections[name]
        # A job that finds another writer embeds images for nothing, and holds up other collections.
        if self._stopping.is_set() or not table.waiting() or is_being_written(collection.folder):
            return
        try:
            with FileLock(table.lock_file, timeout=0):
                table.adopt()
                while not self._stopping.is_set() and (job := table.take()) is not None:
                    if not self._do(collection, table, job):
                        return
        except Timeout:
            # Another process is at work.
            return

    def _do(self, collection: Collection, table: JobTable, job: Job) -> bool:
        """Work on a job; says whether the next one may follow."""
        work = table.work(job.id)
        try:
            collection.refresh(now=True)
            # An index of its own: searches keep the version they see until they look for a newer one.
            index = Index.open(collection.folder)
            try:
                if job.kind == "add":
                    self._add(collection, index, table, job, work)
                else:
                    self._delete(collection, index, table, job, work)
            finally:
                index.close()
        except AnotherWriterError:
            self._end(table, job, "queued", "waits for another program that writes to the index")
            return False
        except CrosslensError as error:
            log.error("job %s of %s failed: %s", job.id, collection.name, error)
            self._fail(table, job, work, "the index could not be changed; the server's log says why")
        except Exception:
            log.exception("job %s of %s failed", job.id, collection.name)
            self._fail(table, job, work, "a defect of the server; its log says more")
        return True

    def _fail(self, table: JobTable, job: Job, work: dict[str, Any], message: str) -> None:
        """End a job as failed, and delete the files of images that it did not add."""
        if job.kind == "add":
            try:
                with closing(Index.open(self._collections[job.collection].folder)) as index:
                    self._uploads[job.collection].forget(index, table, Addition.of(work).files, job.id)
            except (CrosslensError, OSError) as error:
                log.error("uploads of the failed job %s of %s stay: %s", job.id, job.collection, error)
        self._end(table, job, "failed", message)

    def _add(self, collection: Collection, index: Index, table: JobTable, job: Job, work: dict[str, Any]) -> None:
        asked = Addition.of(work)
        images = asked.images
        # One encoder for the whole job, whatever takes the index's place meanwhile; the index refuses another's.
        encoder = collection.encoder
        uploads = self._uploads[collection.name]
        _, notes = resolve_domain(asked.domain, encoder.domains, index)
        skipped: dict[str, str] = {}
        before = _files_of(index, [image.id for image in images], None)
        done, cancelled = job.done, table.advance(job.id, job.done, len(images))
        while done < len(images) and not cancelled:
            if self._stopping.is_set():
                self._end(
                    table, job, "queued", f"{done} of {len(images)} added; goes on when the server starts again"
                )
                return
            batch = images[done : done + BATCH]
            skipped |= self._add_batch(encoder, index, uploads, batch, asked)
            done += len(batch)
            cancelled = table.advance(job.id, done, len(images))
        if cancelled and done < len(images):
            self._end(table, job, "cancelled", f"cancelled after {done} of {len(images)}; what was added stays")
            uploads.forget(index, table, asked.files[done:], job.id)
            return
        # An id that was there may have had another file.
        unneeded = [image.file for image in images if image.id in skipped]
        uploads.forget(index, table, [*unneeded, *before], job.id)
        ids = [image.id for image in images if image.id not in skipped]
        result = {"added": len(ids), "ids": ids, "skipped": list(skipped), "items": len(index)}
        message = f"{len(ids)} images added"
        if skipped:
            message += f", {len(skipped)} left out: the first {next(iter(skipped.values()))}"
        self._end(table, job, "done", "; ".join((message, *notes)), result)

    def _add_batch(
        self,
        encoder: QueryEncoder,
        index: Index,
        uploads: Uploads,
        images: Sequence[Uploaded],
        asked: Addition,
    ) -> dict[str, str]:
        """Add one batch in one step; says by id which images were left out, and why."""
        taken = set(ids_of_folders(index, [image.id for image in images]))
        skipped = dict.fromkeys(taken, "has the id of an image that was indexed where it lies")
        present: list[Uploaded] = []
        facts: dict[str, Facts] = {}
        squares = []
        for image in images:
            if image.id in taken:
                continue
            facts[image.id] = found = read_facts(uploads.path(image.file))
            if found.width and (fault := find_fault(found.width, found.height)):
                skipped[image.id] = fault
                continue
            try:
                squares.append(encoder.preprocess.pixels(uploads.path(image.file)))
                present.append(image)
            except ImageError:
                skipped[image.id] = "can no longer be read"
        if present:
            name, _ = resolve_domain(asked.domain, encoder.domains)
            features = self._embedding.embed_squares(encoder, squares, name)
            vectors = encoder.encode_features(features, name)
            faults = find_faults(vectors)
            skipped |= {present[row].id: f"its vector {fault}" for row, fault in faults.items()}
            good = [row for row in range(len(present)) if row not in faults]
            kept = [present[row] for row in good]
            own = _declared(index, asked, kept, facts)
            items = _items(kept, own, uploads.root, asked.domain)
            index.upsert(items, vectors[good], encoder.fingerprint)
        return skipped

    def _delete(
        self, collection: Collection, index: Index, table: JobTable, job: Job, work: dict[str, Any]
    ) -> None:
        uploads = self._uploads[collection.name]
        where = None if work["where"] is None else _FILTER.validate_python(work["where"])
        going = _files_of(index, work["ids"], where)
        total = index.count(where) if where is not None else len(work["ids"])
        if table.advance(job.id, 0, total):
            self._end(table, job, "cancelled", "cancelled; nothing was deleted")
            return
        deleted = index.delete(work["ids"] if where is None else where)
        uploads.forget(index, table, going, job.id)
        table.advance(job.id, total, total)
        self._end(table, job, "done", f"{deleted} items deleted", {"deleted": deleted, "items": len(index)})

    def _end(
        self, table: JobTable, job: Job, state: str, message: str, result: dict[str, Any] | None = None
    ) -> None:
        try:
            # Who reads that a job is done finds here what it did.
            self._collections[job.collection].refresh(now=True)
        except CrosslensError as error:
            # The job is over all the same; left as running it would be tried for ever.
            log.error("%s cannot be read after the job %s: %s", job.collection, job.id, error)
        table.end(job.id, state, message, result)
        if state != "queued":
            self._meter.jobs.labels(job.kind, state).inc()


def _declared(
    index: Index, asked: Addition, images: Sequence[Uploaded], facts: dict[str, Facts]
) -> list[str | None]:
    """The own columns of images, of which the index is told first."""
    contents = index.contents
    if not contents.store.keeps("own"):
        return [None] * len(images)
    contents.declare(asked.types, given=True)
    contents.declare(types_of_facts(facts[image.id] for image in images), given=False)
    if any(contents.columns[name] != kind for name, kind in asked.types.items()):
        raise StoreError(f"the index got columns of other types than {', '.join(asked.types)} meanwhile")
    names = given_columns(contents.description)
    return [merge(None, facts[image.id], image.columns, names, image.id) for image in images]


def _files_of(index: Index, ids: Sequence[str] | None, where: Filter | None) -> list[str]:
    """The uploaded files of items, by their ids or a filter."""
    stored = index.ids_of(ids or ())
    parts = [In(field="id", values=tuple(stored[start : start + 5000])) for start in range(0, len(stored), 5000)]
    scans = [index.scan(part) for part in ([where] if where is not None else parts)]
    paths = [path for scan in scans for rows, _ in scan for path in rows.column("path").to_pylist()]
    return [file for file in map(upload_of, paths) if file is not None]


def _items(images: Sequence[Uploaded], own: Sequence[str | None], root: Path, domain: str) -> pa.Table:
    paths = [root / image.file for image in images]
    columns = {
        "id": [image.id for image in images],
        "path": [str(path) for path in paths],
        "root": [str(root)] * len(images),
        "domain": [domain] * len(images),
        "label": [image.label for image in images],
        **read_file_columns(paths),
        "own": list(own),
    }
    return pa.table(columns, schema=ITEM_SCHEMA)
