"""Evaluation against the obvious NumPy version: full argsort, then a Python loop over the queries.

Both compute the standard report (mAP@all, mAP@200, P@1 to P@200) per query on the same synthetic features, taking
turns; crosslens also keeps the top 100, the precision-recall curve and a checked result. Medians are reported, of
wall time and of processor time, which says more on a machine that others use too.

    python benchmarks/retrieval_evaluation.py --json evaluation.json
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np

from crosslens.evaluation import RetrievalResults, evaluate_retrieval
from crosslens.support.files import write_json

KS = (1, 5, 15, 50, 100, 200)


def synthetic(
    queries: int, gallery: int, width: int, classes: int, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Unit rows ``(Q, D)``, ``(G, D)`` float32 around shared, shifted class centres; and class names."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(classes, width))
    query_labels, gallery_labels = rng.integers(0, classes, queries), rng.integers(0, classes, gallery)
    left = centres[query_labels] + 0.8 * rng.normal(size=width) + 3 * rng.normal(size=(queries, width))
    right = centres[gallery_labels] + 3 * rng.normal(size=(gallery, width))
    left /= np.linalg.norm(left, axis=1, keepdims=True)
    right /= np.linalg.norm(right, axis=1, keepdims=True)
    return (
        left.astype(np.float32),
        right.astype(np.float32),
        np.char.add("class ", query_labels.astype(str)),
        np.char.add("class ", gallery_labels.astype(str)),
    )


def obvious(
    queries: np.ndarray,
    gallery: np.ndarray,
    query_labels: np.ndarray,
    gallery_labels: np.ndarray,
    kind: Literal["stable", "quicksort"],
) -> dict[str, np.ndarray]:
    """Per-query values the way one would first write them; ``kind`` is NumPy's sorting algorithm."""
    codes = {name: code for code, name in enumerate(np.unique(gallery_labels))}
    left = np.array([codes.get(name, -1) for name in query_labels])
    right = np.array([codes[name] for name in gallery_labels])
    order = np.argsort(-(queries @ gallery.T), axis=1, kind=kind)
    values: dict[str, list[float]] = {key: [] for key in ("map@all", "map@200", *(f"p@{k}" for k in KS))}
    for label, ranks in zip(left, order, strict=True):
        relevance = right[ranks] == label
        n_rel = relevance.sum()
        precision = np.cumsum(relevance) / np.arange(1, len(ranks) + 1)
        values["map@all"].append((precision * relevance).sum() / max(n_rel, 1))
        values["map@200"].append((precision * relevance)[:200].sum() / max(min(200, n_rel), 1))
        for k in KS:
            values[f"p@{k}"].append(relevance[:k].sum() / k)
    return {key: np.array(column) for key, column in values.items()}


def timed(function: Callable[[], object]) -> tuple[float, float, object]:
    wall, processor = time.perf_counter(), time.process_time()
    result = function()
    return time.perf_counter() - wall, time.process_time() - processor, result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queries", type=int, default=4439)
    parser.add_argument("--gallery", type=int, default=4365)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--classes", type=int, default=7)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write the numbers here")
    arguments = parser.parse_args()

    data = synthetic(arguments.queries, arguments.gallery, arguments.width, arguments.classes, arguments.seed)
    versions: dict[str, Callable[[], object]] = {
        "crosslens": lambda: evaluate_retrieval(*data),
        "argsort and loop, stable": lambda: obvious(*data, kind="stable"),
        "argsort and loop, quicksort": lambda: obvious(*data, kind="quicksort"),
    }
    wall: dict[str, list[float]] = {name: [] for name in versions}
    processor: dict[str, list[float]] = {name: [] for name in versions}
    results: dict[str, object] = {}
    for _ in range(arguments.repeats):
        for name, version in versions.items():
            seconds, processor_seconds, results[name] = timed(version)
            wall[name].append(seconds)
            processor[name].append(processor_seconds)

    ours, theirs = results["crosslens"], results["argsort and loop, stable"]
    assert isinstance(ours, RetrievalResults)
    assert isinstance(theirs, dict)
    difference = max(float(np.abs(ours.per_query[key] - values).max()) for key, values in theirs.items())
    if set(theirs) != set(ours.per_query) or difference > 1e-3:
        raise SystemExit(f"the versions disagree: largest per-query difference {difference:.2g}")

    report: dict[str, object] = {
        key: getattr(arguments, key) for key in ("queries", "gallery", "width", "classes", "repeats", "seed")
    }
    report |= {"largest_difference": difference, "cpus": os.cpu_count(), "load": os.getloadavg()[0]}
    for clock, seconds_of in (("wall", wall), ("processor", processor)):
        medians = {name: statistics.median(times) for name, times in seconds_of.items()}
        ratios = {name: median / medians["crosslens"] for name, median in medians.items()}
        report[clock] = {"seconds": seconds_of, "median": medians, "ratio": ratios}
        for name, median in medians.items():
            print(f"{clock:9s}  {name:27s}  {median:6.3f} s  {ratios[name]:4.1f} x crosslens")
    print(f"largest difference of a per-query value: {difference:.1e}; load {os.getloadavg()[0]:.1f}")
    if arguments.json:
        write_json(arguments.json, report)


if __name__ == "__main__":
    main()
