"""What runs for long: one small file for each command, so that another terminal can list, stop and resume it.

    STATE/jobs/embed-3f2a91.json    written by the process of that command alone
    TARGET/job.jsonl                the same as it goes on, one JSON object a line
    STATE/jobs/embed-3f2a91.jsonl   instead, until the job ends, of a TARGET in object storage: nothing grows there

There is no daemon and no lock: a process writes its own file, the others read it. Whether a job that calls itself
running still does is told by its process, which a number alone would not: numbers are used again.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from crosslens.support.addresses import Place, place_of, whole_name
from crosslens.support.errors import ConfigError, CrosslensError
from crosslens.support.files import read_json, write_json
from crosslens.support.places import state_folder
from crosslens.support.progress import watched
from crosslens.support.remote import Remote

LOG = "job.jsonl"
_WRITE, _LOG = 2.0, 10.0
"""Seconds between two writings of the file, and between two lines of the log."""
_KEPT_DAYS = 30
_REASONS = 20
"""Kinds of skipped pictures that are counted apart."""

Seen = Literal["running", "done", "failed", "interrupted", "lost", "elsewhere"]


class Job(BaseModel):
    """One long command.

    Attributes:
        id: its name here, such as ``embed-3f2a91``.
        verb: ``embed``, ``fit`` or ``index build``.
        command: what was typed behind ``crosslens``.
        folder: where it was typed.
        target: what it makes.
        log: where the lines lie that tell how it went on; empty in what an older version wrote.
        host, pid, begun: its process; ``begun`` is a mark that a later process of this number does not have.
        started, updated: seconds since 1970.
        state: what it last said of itself.
        reason: why it failed.
        stage, done, total: how far it is.
        rate: steps a second of this stage; 0 while it is not known.
        skipped: how many pictures were left out, by reason.
    """

    model_config = ConfigDict(frozen=True)

    id: str
    verb: str
    command: list[str]
    folder: str
    target: str
    log: str = ""
    host: str
    pid: int
    begun: str
    started: float
    updated: float
    state: Literal["running", "done", "failed", "interrupted"] = "running"
    reason: str = ""
    stage: str = ""
    done: int = 0
    total: int = 0
    rate: float = 0.0
    skipped: dict[str, int] = {}

    @property
    def seen(self) -> Seen:
        """Its state as it is: ``lost`` when its process is gone, ``elsewhere`` when that is another machine's."""
        if self.state != "running":
            return self.state
        if self.host != socket.gethostname():
            return "elsewhere"
        return "running" if self.begun == _begun(self.pid) else "lost"

    @property
    def seconds_left(self) -> float | None:
        """Of its stage, at the present rate; None while that is not known."""
        return max(0, self.total - self.done) / self.rate if self.rate and self.state == "running" else None


def list_jobs() -> list[Job]:
    """All that are known, the latest first; those that ended a month ago are forgotten."""
    found = []
    for file in _folder().glob("*.json"):
        try:
            job = Job.model_validate(read_json(file))
        except (CrosslensError, ValidationError):
            continue  # removed meanwhile, or of a newer crosslens
        if job.seen not in ("running", "elsewhere") and time.time() - job.updated > _KEPT_DAYS * 86400:
            file.unlink(missing_ok=True)
            file.with_suffix(".jsonl").unlink(missing_ok=True)
        else:
            found.append(job)
    return sorted(found, key=lambda job: job.started, reverse=True)


def find_job(name: str) -> Job:
    """The job of an id, the beginning of one, or the latest of a target.

    Raises:
        ConfigError: when there is none, or several.
    """
    jobs = list_jobs()
    found = [job for job in jobs if job.id == name] or [job for job in jobs if job.id.startswith(name)]
    found = found or [job for job in jobs if job.target == whole_name(place_of(name))][:1]
    if len(found) != 1:
        several = f"several jobs are called {name!r}: {', '.join(job.id for job in found)}"
        raise ConfigError(several if found else f"there is no job {name!r}; 'crosslens jobs' lists them")
    return found[0]


def cancel_job(job: Job, patience: float = 60.0) -> bool:
    """Ask a job to stop as Ctrl-C does: it writes what is finished and ends.

    Args:
        job: one that runs on this machine.
        patience: seconds to wait for it.

    Returns:
        Whether it has ended.

    Raises:
        ConfigError: when it does not run, or on another machine.
    """
    if job.seen == "elsewhere":
        raise ConfigError(f"{job.id} runs on {job.host}; cancel it there")
    if job.seen != "running":
        raise ConfigError(f"{job.id} does not run: it is {job.seen}")
    os.kill(job.pid, signal.SIGTERM)
    until = time.monotonic() + patience
    while _begun(job.pid) == job.begun:
        if time.monotonic() > until:
            return False
        time.sleep(0.1)
    return True


def command_again(job: Job) -> list[str]:
    """What to type behind ``crosslens`` to go on with a job that ended.

    Raises:
        ConfigError: while it runs, or when it is done.
    """
    if job.seen == "running":
        raise ConfigError(f"{job.id} runs already (process {job.pid})")
    if job.seen == "elsewhere":
        raise ConfigError(f"{job.id} runs on {job.host}, as far as can be seen from here")
    if job.seen == "done":
        raise ConfigError(f"{job.id} is done")
    return [*job.command, *(["--resume"] if job.verb == "fit" and "--resume" not in job.command else [])]


@contextmanager
def recorded(verb: str, target: Place, command: list[str]) -> Iterator[None]:
    """Record what is done inside ``with`` as a job, until it ends in whatever way.

    A polite signal to end (SIGTERM) becomes what Ctrl-C is. That nothing can be recorded, as where the home is not
    writable, is no reason not to work.
    """
    if os.environ.get("RANK", "0") != "0":
        # Of the processes of one training the first speaks for all.
        yield
        return
    record = _Record(verb, target, command)
    with _terminated_politely(), watched(record):
        try:
            yield
        except BaseException as error:
            ended = isinstance(error, KeyboardInterrupt) or (isinstance(error, SystemExit) and error.code == 130)
            record.end("interrupted" if ended else "failed", "" if ended else str(error))
            raise
        record.end("done")


class _Record:
    """The job of this process, as it goes on; also what watches its progress."""

    def __init__(self, verb: str, target: Place, command: list[str]) -> None:
        now, name = time.time(), f"{verb.partition(' ')[0]}-{secrets.token_hex(3)}"
        self._target = target
        self._log = target / LOG if isinstance(target, Path) else _folder() / f"{name}.jsonl"
        self._job = Job(
            id=name,
            verb=verb,
            command=command,
            folder=os.getcwd(),
            target=whole_name(target),
            log=whole_name(self._log),
            host=socket.gethostname(),
            pid=os.getpid(),
            begun=_begun(os.getpid()),
            started=now,
            updated=now,
        )
        self._lock = threading.Lock()
        self._skipped: Counter[str] = Counter()
        self._stage_since = self._written = self._logged = 0.0
        self._lines: list[dict[str, Any]] = [
            {"event": "start", "job": self._job.id, "command": command, "folder": self._job.folder}
        ]
        self._write()

    def progress(self, stage: str, done: int, total: int) -> None:
        """A stage is so far."""
        with self._lock:
            now = time.time()
            if stage != self._job.stage or done < self._job.done:
                self._stage_since, self._logged = now, 0.0
            spent = now - self._stage_since
            rate = done / spent if spent > 0 else 0.0
            self._change(stage=stage, done=done, total=total, rate=rate, updated=now)
            if now - self._written >= _WRITE:
                self._write()
            if now - self._logged >= _LOG or done == total:
                self._logged = now
                self._tell("progress", stage=stage, done=done, total=total, rate=round(rate, 3))
                self._flush()

    def skip(self, reason: str) -> None:
        """A picture is left out."""
        with self._lock:
            known = reason in self._skipped or len(self._skipped) < _REASONS
            self._skipped[reason if known else "for other reasons"] += 1
            self._change(skipped=dict(self._skipped))

    def end(self, state: Literal["done", "failed", "interrupted"], reason: str = "") -> None:
        """The job ends so."""
        with self._lock:
            now = time.time()
            self._change(state=state, reason=reason, updated=now)
            seconds = round(now - self._job.started, 3)
            self._tell("end", state=state, reason=reason, seconds=seconds, skipped=self._job.skipped)
            # What failed before it began leaves no trace in a folder that may be anything.
            if self._job.stage or state == "done":
                self._flush()
            if state != "failed":
                # It may have failed since nothing can be written there.
                self._hand_over()
            self._write()

    def _change(self, **changes: Any) -> None:
        self._job = self._job.model_copy(update=changes)

    def _tell(self, event: str, **more: Any) -> None:
        self._lines.append({"event": event, "time": round(time.time(), 3), **more})

    def _write(self) -> None:
        self._written = time.time()
        with suppress(CrosslensError, OSError):
            write_json(_folder() / f"{self._job.id}.json", self._job.model_dump())

    def _flush(self) -> None:
        """Append what is to be told, once there is a target that it can lie in."""
        with suppress(OSError):
            if isinstance(self._target, Remote):
                self._log.parent.mkdir(parents=True, exist_ok=True)
        if not self._log.parent.is_dir():
            return
        with suppress(OSError), open(self._log, "a", encoding="utf-8") as handle:
            handle.writelines(json.dumps(line) + "\n" for line in self._lines)
            self._lines.clear()

    def _hand_over(self) -> None:
        """Put the log where a target in object storage lies, behind those of earlier jobs."""
        if not isinstance(self._target, Remote):
            return
        there = self._target / LOG
        with suppress(CrosslensError, OSError):
            if not self._target.is_dir():
                return
            before = there.read_bytes() if there.is_file() else b""
            there.write(before + self._log.read_bytes())
            self._change(log=str(there))
            self._log.unlink()


def reason_of(sentence: str, path: str) -> str:
    """Why a picture was left out, without its name and numbers, so that like ones count together."""
    return re.sub(r"\d+", "N", sentence.replace(path, "")).strip(" :")


@contextmanager
def _terminated_politely() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _folder() -> Path:
    return state_folder() / "jobs"


def _begun(pid: int) -> str:
    """When a process began, as a mark; empty when there is none, or only its number where that is not told."""
    try:
        # Behind the name, which may hold anything: the state, and as field 22 of the whole line the time.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return "" if fields[0] == "Z" else fields[19]
    except OSError:
        pass
    if Path("/proc/self/stat").exists():
        return ""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return ""
    except OSError:
        pass
    return str(pid)
