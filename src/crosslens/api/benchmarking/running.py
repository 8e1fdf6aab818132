"""Doing the jobs of a suite, each in a process of its own, and counting what is left."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

import numpy as np

from crosslens.api.benchmarking.job import is_done
from crosslens.api.benchmarking.plan import Job
from crosslens.methods import AUTO
from crosslens.support.files import read_json
from crosslens.support.progress import duration, note, progress

COMMAND = (sys.executable, "-m", "crosslens.api.benchmarking.job")
_POLL = 0.1
_START, _MEASURE = 4.0, 1.5
"""Seconds until a process is ready, and to measure one fit; before anything was timed."""
_TRAINED, _UNTRAINED = 20.0, 0.5
"""Seconds of a fit for a thousand images, likewise."""


@dataclass(frozen=True)
class Failure:
    """A job that did not finish: which, why, and where its process's last words are."""

    job: Job
    reason: str
    log: Path


@dataclass(frozen=True)
class Running:
    """How jobs are done.

    Attributes:
        out: the folder of the suite.
        processes: jobs at the same time.
        features: the feature folder of each data set, by data set and backbone; None for the cache.
        device: where to train.
        command: what reads a job from its standard input and does it.
    """

    out: Path
    processes: int
    features: Mapping[tuple[str, str], Path | None]
    device: str | None = None
    command: Sequence[str] = COMMAND

    def run(self, jobs: Sequence[Job], estimate: Callable[[Job], float]) -> list[Failure]:
        """Do the jobs in their order; one that fails does not stop the others."""
        waiting, failures = list(jobs), []
        active: dict[str, tuple[Job, subprocess.Popen[str], float]] = {}
        expected, spent = 0.0, 0.0
        with progress(len(jobs), "jobs") as advance:
            try:
                while waiting or active:
                    while waiting and len(active) < self.processes:
                        job = waiting.pop(0)
                        active[job.key] = (job, self._start(job), time.monotonic())
                    for job, process, began in list(active.values()):
                        if process.poll() is None:
                            continue
                        del active[job.key]
                        seconds = time.monotonic() - began
                        expected, spent = expected + estimate(job), spent + seconds
                        reason = self._reason(job, process.returncode)
                        if reason:
                            failures.append(Failure(job, reason, self._log(job)))
                        jobs = [*waiting, *(one for one, _, _ in active.values())]
                        left = sum(map(estimate, jobs)) / self.processes * spent / max(expected, 1e-9)
                        told = f"failed: {reason}" if reason else f"{seconds:.0f} s"
                        wait = f"; about {duration(left)} left" if jobs else ""
                        advance(1, str(job.cell))
                        note(f"{job.cell}: {told}{wait}", "yellow" if reason else "")
                    time.sleep(_POLL)
            finally:
                for _, process, _ in active.values():
                    process.terminate()
                    process.wait()
        return failures

    def _start(self, job: Job) -> subprocess.Popen[str]:
        place = self._log(job)
        place.parent.mkdir(parents=True, exist_ok=True)
        threads = str(max(1, (os.cpu_count() or 1) // self.processes))
        # Where a user said how many threads, that stays.
        environment = {"OMP_NUM_THREADS": threads, **os.environ}
        with open(place, "w", encoding="utf-8") as log:
            process = subprocess.Popen(
                self.command, stdin=subprocess.PIPE, stdout=log, stderr=log, text=True, env=environment
            )
        features = self.features.get((job.cell.data, job.cell.backbone))
        asked = {
            "job": job.to_json(),
            "out": str(self.out.resolve()),
            "features": None if features is None else str(features.resolve()),
            "device": self.device,
            "parent": os.getpid(),
        }
        # A process that ended before it read says why in its log.
        with suppress(BrokenPipeError), cast(IO[str], process.stdin) as asking:
            json.dump(asked, asking)
        return process

    def _log(self, job: Job) -> Path:
        return self.out / "jobs" / f"{job.key}.log"

    def _reason(self, job: Job, status: int) -> str:
        """Why a job failed; the empty text when it is done."""
        if status == 0 and is_done(self.out, job):
            return ""
        if status < 0:
            name = signal.Signals(-status).name
            return f"its process was ended by {name}" + (", often for want of memory" if name == "SIGKILL" else "")
        lines = self._log(job).read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return lines[-1].removeprefix("error: ") if lines else f"its process left with status {status}"


class Estimates:
    """Seconds that jobs will take, from those of the same method that are done, else from a rough guess.

    Args:
        out: the folder of the suite.
    """

    def __init__(self, out: Path) -> None:
        rates: dict[str, list[float]] = {}
        # A name with a dot is a folder that a killed process did not finish.
        for file in (out / "jobs").glob("[!.]*/facts.json") if (out / "jobs").is_dir() else ():
            value = read_json(file)
            seconds = value["facts"]["seconds"]["fit"]
            if seconds is not None and value["job"]["images"]:
                row = value["job"]["cell"]["method"]
                rates.setdefault(row, []).append(seconds * value["facts"]["fits"] / value["job"]["images"] * 1000)
        self._rates = {row: float(np.median(own)) for row, own in rates.items()}

    def __call__(self, job: Job) -> float:
        """Seconds of one job."""
        guess = _TRAINED if job.method == AUTO or "epochs" in job.settings else _UNTRAINED
        rate = self._rates.get(job.cell.method, guess)
        return _START + _MEASURE * len(job.parts) + rate * job.images / 1000
