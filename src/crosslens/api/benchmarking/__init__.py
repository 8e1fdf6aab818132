"""``benchmark``: a suite of measurements, done job by job, and the table and page that come of it."""

from __future__ import annotations

from crosslens.api.benchmarking.benchmarking import (
    BenchmarkRequest,
    Outcome,
    benchmark,
    plan_of,
    run_suite,
    write_outcome,
)
from crosslens.api.benchmarking.suite import Suite, read_suite

__all__ = [
    "BenchmarkRequest",
    "Outcome",
    "Suite",
    "benchmark",
    "plan_of",
    "read_suite",
    "run_suite",
    "write_outcome",
]
