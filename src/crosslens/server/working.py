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
from crosslens.search.filters.conditions import Filter
from crosslens.search.index.index import Index
from crosslens.search.index.items import read_file_columns
from crosslens.search.index.making import is_upload
from crosslens.search.index.unit_rows import find_faults
from crosslens.search.index.writer_lock import is_being_written
from crosslens.search.query.resolve_domain import resolve_domain
from crosslens.search.stores.base import ITEM_SCHEMA
from crosslens.server.collection import Collection
from crosslens.server.embedding import Embedding
from crosslens.server.jobs import JobTable
from crosslens.server.metrics import Meter
from crosslens.server.schemas import Job
from crosslens.server.uploads import Uploads
from crosslens.support.errors import AnotherWriterError, CrosslensError, ImageError

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
                    self._uploads[job.collection].forget(index, table, work["ids"], job.id)
            except (CrosslensError, OSError) as error:
                log.error("uploads of the failed job %s of %s stay: %s", job.id, job.collection, error)
        self._end(table, job, "failed", message)

    def _add(self, collection: Collection, index: Index, table: JobTable, job: Job, work: dict[str, Any]) -> None:
        ids: list[str] = work["ids"]
        # One encoder for the whole job, whatever takes the index's place meanwhile; the index refuses another's.
        encoder = collection.encoder
        uploads = self._uploads[collection.name]
        _, notes = resolve_domain(work["domain"], encoder.domains, index)
        skipped: dict[str, str] = {}
        done, cancelled = job.done, table.advance(job.id, job.done, len(ids))
        while done < len(ids) and not cancelled:
            if self._stopping.is_set():
                self._end(
                    table, job, "queued", f"{done} of {len(ids)} added; goes on when the server starts again"
                )
                return
            batch = ids[done : done + BATCH]
            skipped |= self._add_batch(encoder, index, uploads, batch, work["domain"], work["label"])
            done += len(batch)
            cancelled = table.advance(job.id, done, len(ids))
        if cancelled and done < len(ids):
            self._end(table, job, "cancelled", f"cancelled after {done} of {len(ids)}; what was added stays")
            uploads.forget(index, table, ids[done:], job.id)
            return
        uploads.forget(index, table, list(skipped), job.id)
        result = {"added": len(ids) - len(skipped), "skipped": list(skipped), "items": len(index)}
        message = f"{len(ids) - len(skipped)} images added"
        if skipped:
            message += f", {len(skipped)} left out: the first {next(iter(skipped.values()))}"
        self._end(table, job, "done", "; ".join((message, *notes)), result)

    def _add_batch(
        self,
        encoder: QueryEncoder,
        index: Index,
        uploads: Uploads,
        ids: Sequence[str],
        domain: str,
        label: str | None,
    ) -> dict[str, str]:
        """Add one batch in one step; says by id which images were left out, and why."""
        present: list[str] = []
        squares = []
        skipped: dict[str, str] = {}
        for image in ids:
            try:
                squares.append(encoder.preprocess.pixels(uploads.path(image)))
                present.append(image)
            except ImageError:
                skipped[image] = "can no longer be read"
        if present:
            name, _ = resolve_domain(domain, encoder.domains)
            features = self._embedding.embed_squares(encoder, squares, name)
            vectors = encoder.encode_features(features, name)
            faults = find_faults(vectors)
            skipped |= {present[row]: f"its vector {fault}" for row, fault in faults.items()}
            good = [row for row in range(len(present)) if row not in faults]
            kept = [present[row] for row in good]
            paths = [uploads.path(image) for image in kept]
            index.upsert(_items(kept, paths, uploads.root, domain, label), vectors[good], encoder.fingerprint)
        return skipped

    def _delete(
        self, collection: Collection, index: Index, table: JobTable, job: Job, work: dict[str, Any]
    ) -> None:
        uploads = self._uploads[collection.name]
        where = None if work["where"] is None else _FILTER.validate_python(work["where"])
        if where is None:
            asked = list(work["ids"])
        else:
            asked = [image for rows, _ in index.scan(where) for image in rows.column("id").to_pylist()]
        # Told by their ids: where the index lay when they were uploaded says nothing.
        going, total = [image for image in asked if is_upload(image)], len(asked)
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


def _items(ids: Sequence[str], paths: Sequence[Path], root: Path, domain: str, label: str | None) -> pa.Table:
    columns = {
        "id": list(ids),
        "path": [str(path) for path in paths],
        "root": [str(root)] * len(ids),
        "domain": [domain] * len(ids),
        "label": [label] * len(ids),
        **read_file_columns(paths),
    }
    return pa.table(columns, schema=ITEM_SCHEMA)
