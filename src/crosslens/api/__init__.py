"""The verbs of the command line as Python functions, by the same names and with the same options."""

from __future__ import annotations

from crosslens.api.benchmarking import benchmark
from crosslens.api.embedding import embed
from crosslens.api.evaluate_request import EvaluateRequest
from crosslens.api.evaluating import compare, evaluate
from crosslens.api.exporting import export
from crosslens.api.fit_request import FitRequest
from crosslens.api.fitting import fit
from crosslens.api.indexing import index
from crosslens.api.match_request import MatchRequest
from crosslens.api.matching import match
from crosslens.api.reporting import report
from crosslens.api.searching import search
from crosslens.data.source import Source, open_catalog

__all__ = [
    "EvaluateRequest",
    "FitRequest",
    "MatchRequest",
    "Source",
    "benchmark",
    "compare",
    "embed",
    "evaluate",
    "export",
    "fit",
    "index",
    "match",
    "open_catalog",
    "report",
    "search",
]
