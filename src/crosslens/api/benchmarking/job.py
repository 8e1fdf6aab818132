"""One job: fit what is missing, measure it, and leave the results in one step.

    OUT/fits/KEY/            a run, shared by all cells whose fit it is
    OUT/fits/KEY.json        the seconds that it took
    OUT/jobs/KEY/            a finished job: rows.parquet, ranks.parquet, facts.json
    OUT/jobs/KEY.log         what its process said

``python -m crosslens.api.benchmarking.job`` reads a job from standard input, and is how one gets a process of its
own: what one job leaves behind in memory, or breaks, no other meets.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
from filelock import FileLock

from crosslens.api.benchmarking.plan import Job, Part, open_source
from crosslens.api.evaluate_request import EvaluateRequest
from crosslens.api.evaluating import measure
from crosslens.api.fit_request import FitRequest
from crosslens.api.fitting import train
from crosslens.data.catalog import Catalog
from crosslens.encoder import Encoder, load_encoder
from crosslens.encoder.untrained import frozen_encoder
from crosslens.evaluation.learned import unlearned_ids
from crosslens.evaluation.measured import Evaluation
from crosslens.evaluation.scenarios import Scenario
from crosslens.methods import AUTO, method_class
from crosslens.ops.hubs import DEFAULT_GOAL
from crosslens.support.errors import CrosslensError
from crosslens.support.files import atomic_path, read_json, write_json
from crosslens.support.terminal import echo
from crosslens.training.run import Run

DEPTH = 10
"""Ranks that are kept of every query, for the pictures of the page."""
_WATCH = 1.0
"""Seconds between two looks whether the process that started this one is still there."""


def is_done(out: Path, job: Job) -> bool:
    """Whether a job's results are there, whole."""
    return (out / "jobs" / job.key).is_dir()


def run_job(job: Job, out: Path, *, features: Path | None = None, device: str | None = None) -> None:
    """Do one job; what a run before this one finished of it is taken over.

    Args:
        job: of a plan.
        out: the folder of the suite.
        features: a feature folder of the data set; the cache by default.
        device: where to train and embed.

    Raises:
        CrosslensError: of the kind that fits.
    """
    catalog = open_source(job.source)
    rows, ranks = [], []
    facts: dict[str, Any] = {"registered": job.method, "fits": len(job.parts)}
    learns_from: set[str] = set()
    fit_seconds: list[float | None] = []
    evaluate_seconds = 0.0
    marks: list[str] = []
    notes: list[str] = []
    floors: list[dict[str, float]] = []
    unmatched: list[dict[str, float]] = []
    for part in job.parts:
        run, seconds = _fit(job, part, catalog, out, features, device)
        fit_seconds.append(seconds)
        request = _request(job, part, catalog, features, device)
        started = time.perf_counter()
        result = measure(run.folder, request)
        evaluate_seconds += time.perf_counter() - started
        rows.append(result.per_query())
        ranks.append(result.rankings())
        fitted = run.config()["method"]
        learns_from |= method_class(fitted).learns_from
        marks += result.marks
        notes += result.told()
        if job.method == AUTO:
            notes.append(f"{job.cell.data}, {', '.join(part.learned)}: {AUTO} took {fitted}")
        unmatched += _no_match(result)
        if part is job.parts[0]:
            facts["bytes"] = {"encoder": _size(run.encoder_folder), "vector": 4 * load_encoder(run.folder).dim}
        unlearned = unlearned_ids(run, catalog)
        if unlearned is not None:
            floor = frozen_encoder(Encoder.load(run.encoder_folder).backbone)
            found = measure(floor, request.model_copy(update={"only": frozenset(unlearned)}))
            floors.append({key: found.metrics[key] for key in job.metrics if key in found.metrics})
    whole = [seconds for seconds in fit_seconds if seconds is not None]
    facts |= {
        "learns_from": sorted(learns_from),
        "seconds": {
            "fit": float(np.mean(whole)) if len(whole) == len(fit_seconds) else None,
            "evaluate": evaluate_seconds,
        },
        "marks": list(dict.fromkeys(marks)),
        "notes": list(dict.fromkeys(notes)),
    }
    facts |= {"floor": _means(floors)} if floors else {}
    facts |= {"no_match": _means(unmatched)} if unmatched else {}
    with atomic_path(out / "jobs" / job.key) as folder:
        folder.mkdir(parents=True)
        pyarrow.parquet.write_table(
            pa.concat_tables(rows, promote_options="default"), folder / "rows.parquet", compression="zstd"
        )
        pyarrow.parquet.write_table(pa.concat_tables(ranks), folder / "ranks.parquet", compression="zstd")
        write_json(folder / "facts.json", {"job": job.to_json(), "facts": facts})


def _fit(
    job: Job, part: Part, catalog: Catalog, out: Path, features: Path | None, device: str | None
) -> tuple[Run, float | None]:
    """The run of a part and the seconds that its fit took; None where it was stopped in between."""
    from crosslens.backbones import load_backbone

    key = job.fit_key(part, load_backbone(job.cell.backbone).fingerprint.digest)
    folder, record = out / "fits" / key, out / "fits" / f"{key}.json"
    folder.parent.mkdir(parents=True, exist_ok=True)
    run = Run(folder)
    with FileLock(out / "fits" / f"{key}.lock"):
        if not run.is_finished:
            begun = (folder / "log.jsonl").is_file()
            request = FitRequest.of(
                method=job.method,
                source=job.source.get("path", catalog),
                out=folder,
                domains=part.learned,
                backbone=job.cell.backbone,
                tune=job.tune or None,
                seed=job.cell.seed,
                settings=job.settings,
                features=features,
                device=device,
                resume=(folder / "config.yaml").is_file(),
                classes=job.classes or None,
                unseen=part.unseen or None,
                goal=(job.cell.goal or None) if job.method == AUTO else None,
                scenario=None if part.scenario is None else Scenario.from_json(part.scenario),
            )
            started = time.perf_counter()
            train(request)
            write_json(record, {"seconds": None if begun else time.perf_counter() - started})
    return run, read_json(record)["seconds"] if record.is_file() else None


def _request(job: Job, part: Part, catalog: Catalog, features: Path | None, device: str | None) -> EvaluateRequest:
    return EvaluateRequest.of(
        on=catalog,
        protocol=job.cell.protocol,
        domains=part.measured,
        scenario=None if part.judged is None else Scenario.from_json(part.judged),
        goal=job.cell.goal or DEFAULT_GOAL,
        depth=DEPTH,
        features=features,
        device=device,
        unseen=part.unseen if job.cell.protocol == "zero-shot" else None,
    )


def _no_match(result: Evaluation) -> list[dict[str, float]]:
    """How well queries without a counterpart were told, where there were some."""
    judged = result.extra.get("no_match")
    if not judged:
        return []
    rule = judged["default"]
    space, _, source = rule.partition(", ")
    told = {"balanced accuracy": judged["rules"][rule]["balanced_accuracy"]}
    found = judged["scores"].get(space, {}).get(f"auroc, {source}")
    return [told if found is None else {**told, "AUROC": found}]


def _means(rows: list[dict[str, float]]) -> dict[str, float]:
    """The mean of every key that all rows have."""
    keys = [key for key in rows[0] if all(key in row for row in rows)]
    return {key: float(np.mean([row[key] for row in rows])) for key in keys}


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file() and file.suffix != ".md")


def _leave_with(parent: int) -> None:
    """End this process when the one that started it is gone, even killed: nobody would take its results."""
    while os.getppid() == parent:
        time.sleep(_WATCH)
    os._exit(1)


def main(asked: Mapping[str, Any]) -> int:
    """Do the job that another process asked for; the exit status tells how it went."""
    threading.Thread(target=_leave_with, args=(asked["parent"],), daemon=True).start()
    features = asked["features"]
    try:
        run_job(
            Job.from_json(asked["job"]),
            Path(asked["out"]),
            features=None if features is None else Path(features),
            device=asked["device"],
        )
    except CrosslensError as error:
        echo(f"error: {error}", err=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(json.load(sys.stdin)))
