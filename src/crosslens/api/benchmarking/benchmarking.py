"""``benchmark``: what is missing of a suite is done, and everything that is done is written down."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from pydantic import Field

from crosslens.api.benchmarking.job import is_done
from crosslens.api.benchmarking.plan import Job, Planned, plan_suite
from crosslens.api.benchmarking.running import Estimates, Failure, Running
from crosslens.api.benchmarking.suite import Suite, read_suite
from crosslens.backbones import load_backbone
from crosslens.backbones.devices import Device
from crosslens.evaluation.suite_results import Measured, SuiteResults, direction_rows
from crosslens.features.load import features_of
from crosslens.features.store import FeatureStore
from crosslens.images.augment import Augmentation
from crosslens.report.suite_page import Ranks, SuitePictures, write_suite_page
from crosslens.report.suite_tables import suite_tables
from crosslens.support.addresses import PathHere
from crosslens.support.errors import RunError
from crosslens.support.files import read_json
from crosslens.support.request import Request, takes


class BenchmarkRequest(Request):
    """What is asked of ``benchmark``."""

    suite: Path
    """The suite, a YAML file; see ``Suite``."""

    out: PathHere
    """The folder of the jobs, the results and the page; what is in it is not done again."""

    jobs: int | None = Field(None, ge=1)
    """Processes, one a job; as many as there are processors by default."""

    skip_missing: bool = False
    """Leave data sets out that are not there."""

    features: Path | None = None
    """A folder with a feature folder for some of the data sets, by their names; the cache for the others."""

    device: Device | None = None
    """Where to embed and train; None chooses."""


@dataclass(frozen=True)
class Outcome:
    """What a suite came to.

    Attributes:
        results: of all cells that are done; None where none is.
        failures: jobs that did not finish.
        missing: cells of the suite without results.
        left_out: data sets that are not there.
        parquet, page, tables: what was written.
    """

    results: SuiteResults | None
    failures: Sequence[Failure]
    missing: int
    left_out: Mapping[str, str]
    parquet: Path
    page: Path
    tables: Path


@takes(BenchmarkRequest)
def benchmark(suite: str | Path, *, out: str | Path, **options: Any) -> Outcome:
    """Do what is missing of a suite, each job in a process of its own, and write its results, tables and page.

    Args:
        suite: a YAML file; see ``Suite``.
        out: the folder of the jobs, the results and the page; what is in it is not done again.
        options: of a ``BenchmarkRequest``.

    Raises:
        ConfigError: for a suite that is wrong, before anything runs.
        RunError: when another process works in the folder.
    """
    return run_suite(BenchmarkRequest.of(**options, suite=suite, out=out))


def run_suite(request: BenchmarkRequest) -> Outcome:
    """What ``benchmark`` does, for a request."""
    suite, planned = plan_of(request)
    out = request.out
    out.mkdir(parents=True, exist_ok=True)
    # Two rows that are set alike are one job.
    todo = list({job.key: job for job in planned.jobs if not is_done(out, job)}.values())
    try:
        with FileLock(out / ".lock", timeout=0):
            features = _embed(planned, todo, request)
            processes = request.jobs or os.cpu_count() or 1
            failures = Running(out, processes, features, request.device).run(todo, Estimates(out))
    except Timeout:
        raise RunError(f"another process works on the suite in {out}; wait for it, or stop it") from None
    return write_outcome(suite, planned, out, failures)


def plan_of(request: BenchmarkRequest) -> tuple[Suite, Planned]:
    """The suite and its jobs, done or not."""
    suite = read_suite(request.suite)
    return suite, plan_suite(suite, request.suite, skip_missing=request.skip_missing)


def write_outcome(suite: Suite, planned: Planned, out: Path, failures: Sequence[Failure] = ()) -> Outcome:
    """Write results, tables and page of all jobs of a plan that are done, and nothing where none is."""
    done = [job for job in planned.jobs if is_done(out, job)]
    parquet, page, tables = out / "results.parquet", out / "report.html", out / "tables"
    results = None
    if done:
        results = _collected(suite, done, out)
        results.write(parquet)
        made = suite_tables(results)
        for name, table in made.items():
            for suffix in (".csv", ".md", ".tex"):
                table.write(tables / f"{name}{suffix}")
        jobs = {job.cell: job for job in done}
        ranks = {cell: Ranks(out / "jobs" / job.key / "ranks.parquet") for cell, job in jobs.items()}
        told = [f"{failure.job.cell}: {failure.reason}" for failure in failures]
        told += [f"{name}: {reason}" for name, reason in planned.left_out.items()]
        pictures = SuitePictures(planned.catalogs, ranks)
        write_suite_page(results, page, tables=made, pictures=pictures, problems=told)
    missing = len(planned.jobs) - len(done)
    return Outcome(results, failures, missing, planned.left_out, parquet, page, tables)


def _collected(suite: Suite, jobs: Sequence[Job], out: Path) -> SuiteResults:
    import pyarrow.parquet

    cells = []
    for job in jobs:
        folder = out / "jobs" / job.key
        rows = pyarrow.parquet.read_table(folder / "rows.parquet")
        facts = read_json(folder / "facts.json", RunError)["facts"]
        cells.append(Measured(job.cell, direction_rows(job.cell, rows, suite.metrics), facts))
    about = {
        "name": suite.name,
        "metrics": list(suite.metrics),
        "methods": list(suite.methods),
        "data": list(suite.data),
        "base": suite.base_row,
    }
    return SuiteResults(about, tuple(cells))


def _embed(planned: Planned, todo: Sequence[Job], request: BenchmarkRequest) -> dict[tuple[str, str], Path | None]:
    """Embed what the jobs will ask for, once for all of them; the feature folders that were given."""
    places: dict[tuple[str, str], Path | None] = {}
    wanted: dict[tuple[str, str, str], tuple[int, Augmentation | None]] = {}
    for job in todo:
        views = int(job.settings.get("views", 0))
        drawn = Augmentation(**job.settings["augmentation"]) if "augmentation" in job.settings else None
        key = (job.cell.data, job.cell.backbone, drawn.model_dump_json() if drawn and views else "")
        wanted[key] = (max(views, wanted.get(key, (0, None))[0]), drawn)
    for (data, name, _), (views, drawn) in sorted(wanted.items(), key=lambda one: -one[1][0]):
        backbone = load_backbone(name)
        place = request.features / data if request.features is not None else None
        if place is not None:
            known = (place / "features.json").is_file()
            fits = known and FeatureStore.open(place).config.fingerprint == backbone.fingerprint
            place = place if fits else None
        places[data, name] = place
        features_of(
            planned.catalogs[data],
            backbone,
            views=views,
            augmentation=drawn,
            seed=0 if place is None else None,
            folder=place,
            device=request.device,
        )
    return places
