"""Jobs of one collection: a small SQLite table inside the index, which all worker processes see.

    I/server/jobs.sqlite    what was asked for and how far it is
    I/server/jobs.lock      held by the process that works on them; one job at a time

The operating system frees the lock when its process dies. Who gets it next puts what was running back in the
queue, and it goes on behind the last batch that was committed.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Literal

from crosslens.server.schemas import Job
from crosslens.server.uploaded import Addition
from crosslens.support.errors import StoreError

Kind = Literal["add", "delete"]
MOST_WAITING = 100
MOST_ENDED = 200
_ENDED = ("done", "failed", "cancelled")
_TABLE = """
CREATE TABLE IF NOT EXISTS jobs (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT UNIQUE NOT NULL, kind TEXT NOT NULL, state TEXT NOT NULL,
    done INTEGER NOT NULL, total INTEGER NOT NULL, message TEXT NOT NULL, result TEXT, created REAL NOT NULL,
    work TEXT NOT NULL, cancel INTEGER NOT NULL DEFAULT 0
)
"""


class TooManyJobsError(StoreError):
    """The queue is full."""


class JobTable:
    """The jobs of one collection.

    Args:
        folder: of the index.
        collection: its name.
    """

    def __init__(self, folder: Path, collection: str) -> None:
        self._file = folder / "server" / "jobs.sqlite"
        self._collection = collection

    @property
    def lock_file(self) -> Path:
        """Whoever holds this lock works on the jobs."""
        return self._file.with_name("jobs.lock")

    def put(self, kind: Kind, work: dict[str, Any], total: int) -> Job:
        """Queue a job.

        Args:
            kind: what to do.
            work: with what; plain values.
            total: items it is about; 0 where that is not known yet.

        Raises:
            TooManyJobsError: when ``MOST_WAITING`` wait already.
            StoreError: when the index folder cannot be written.
        """
        with self._open(make=True) as table, table:
            table.execute("BEGIN IMMEDIATE")
            waiting = table.execute("SELECT COUNT(*) FROM jobs WHERE state IN ('queued', 'running')").fetchone()[0]
            if waiting >= MOST_WAITING:
                raise TooManyJobsError(f"{waiting} jobs of {self._collection} wait already; try again later")
            values = (secrets.token_hex(8), kind, "queued", 0, total, "waiting", time.time(), json.dumps(work))
            table.execute(
                "INSERT INTO jobs (id, kind, state, done, total, message, created, work)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                values,
            )
            table.execute(
                "DELETE FROM jobs WHERE state IN (?, ?, ?) AND number NOT IN"
                " (SELECT number FROM jobs WHERE state IN (?, ?, ?) ORDER BY number DESC LIMIT ?)",
                (*_ENDED, *_ENDED, MOST_ENDED),
            )
        job = self.get(values[0])
        assert job is not None
        return job

    def all(self) -> list[Job]:
        """All jobs, newest first."""
        return [self._job(row) for row in self._rows("SELECT * FROM jobs ORDER BY number DESC")]

    def get(self, job: str) -> Job | None:
        """One job."""
        return next((self._job(row) for row in self._rows("SELECT * FROM jobs WHERE id = ?", job)), None)

    def work(self, job: str) -> dict[str, Any]:
        """What a job was given to do."""
        row = next(iter(self._rows("SELECT work FROM jobs WHERE id = ?", job)))
        return dict(json.loads(row["work"]))

    def cancel(self, job: str) -> bool:
        """Cancel a job: one that waits at once, one that runs after its batch.

        Returns:
            Whether it was still to be cancelled.
        """
        with self._open() as table, table:
            now = table.execute(
                "UPDATE jobs SET state = 'cancelled', message = 'cancelled before it began'"
                " WHERE id = ? AND state = 'queued' AND done = 0",
                (job,),
            ).rowcount
            soon = table.execute(
                "UPDATE jobs SET cancel = 1, message = 'is being cancelled'"
                " WHERE id = ? AND state IN ('queued', 'running')",
                (job,),
            ).rowcount
        return bool(now or soon)

    def waiting(self) -> bool:
        """Whether there is something to do, or left over by a process that died."""
        return bool(self._rows("SELECT 1 FROM jobs WHERE state IN ('queued', 'running') LIMIT 1"))

    def adopt(self) -> None:
        """Put back what a dead process was running; only whoever holds the lock may."""
        with self._open() as table, table:
            table.execute("UPDATE jobs SET state = 'queued' WHERE state = 'running'")

    def take(self) -> Job | None:
        """Start the oldest waiting job; only whoever holds the lock may."""
        with self._open() as table, table:
            row = table.execute(
                "UPDATE jobs SET state = 'running', message = 'running' WHERE number ="
                " (SELECT MIN(number) FROM jobs WHERE state = 'queued') RETURNING *"
            ).fetchone()
        return None if row is None else self._job(row)

    def advance(self, job: str, done: int, total: int) -> bool:
        """Record progress; says whether the job was cancelled meanwhile, or its index is gone with the table."""
        if not self._file.is_file():
            return True
        with self._open() as table, table:
            row = table.execute(
                "UPDATE jobs SET done = ?, total = ? WHERE id = ? RETURNING cancel", (done, total, job)
            ).fetchone()
        return bool(row is not None and row["cancel"])

    def end(self, job: str, state: str, message: str, result: dict[str, Any] | None = None) -> None:
        """Record how a job ended, or with ``queued`` that it goes on later; nothing where the table is gone."""
        if not self._file.is_file():
            return
        with self._open() as table, table:
            table.execute(
                "UPDATE jobs SET state = ?, message = ?, result = ? WHERE id = ?",
                (state, message, None if result is None else json.dumps(result), job),
            )

    def wanted(self, files: Sequence[str], but: str) -> set[str]:
        """Which of these uploads an unfinished job other than ``but`` still adds."""
        asked = set(files)
        rows = self._rows(
            "SELECT work FROM jobs WHERE kind = 'add' AND state IN ('queued', 'running') AND id != ?", but
        )
        waiting = (file for row in rows for file in Addition.of(json.loads(row["work"])).files)
        return {file for file in waiting if file in asked}

    def _rows(self, query: str, *values: Any) -> list[sqlite3.Row]:
        if not self._file.is_file():
            return []
        with self._open() as table:
            return table.execute(query, values).fetchall()

    @contextmanager
    def _open(self, make: bool = False) -> Iterator[sqlite3.Connection]:
        try:
            if make:
                self._file.parent.mkdir(exist_ok=True)
            with closing(sqlite3.connect(self._file, timeout=10)) as table:
                table.row_factory = sqlite3.Row
                # With a write-ahead log a power cut may lose the last entries, never the table.
                table.execute("PRAGMA synchronous = NORMAL")
                if make:
                    table.execute("PRAGMA journal_mode = WAL")
                table.execute(_TABLE)
                yield table
        except (OSError, sqlite3.Error) as error:
            raise StoreError(f"the jobs in {self._file} cannot be read or written: {error}") from error

    def _job(self, row: sqlite3.Row) -> Job:
        return Job(
            id=row["id"],
            collection=self._collection,
            kind=row["kind"],
            state=row["state"],
            done=row["done"],
            total=row["total"],
            message=row["message"],
            result=None if row["result"] is None else json.loads(row["result"]),
            created=row["created"],
        )
