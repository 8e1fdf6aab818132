"""The verbs of the command line as Python functions, by the same names and with the same options.

Each is imported on first use: a request can then be checked before what computes is there, which takes seconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from crosslens.support.first_use import on_first_use

if TYPE_CHECKING:
    from crosslens.api.benchmarking.benchmarking import benchmark
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

_PLACES = {
    "EvaluateRequest": "crosslens.api.evaluate_request",
    "FitRequest": "crosslens.api.fit_request",
    "MatchRequest": "crosslens.api.match_request",
    "Source": "crosslens.data.source",
    "benchmark": "crosslens.api.benchmarking.benchmarking",
    "compare": "crosslens.api.evaluating",
    "embed": "crosslens.api.embedding",
    "evaluate": "crosslens.api.evaluating",
    "export": "crosslens.api.exporting",
    "fit": "crosslens.api.fitting",
    "index": "crosslens.api.indexing",
    "match": "crosslens.api.matching",
    "open_catalog": "crosslens.data.source",
    "report": "crosslens.api.reporting",
    "search": "crosslens.api.searching",
}

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


__getattr__ = on_first_use(__name__, _PLACES)


def __dir__() -> list[str]:
    return sorted(__all__)
