"""The verbs of the command line as Python functions."""

from __future__ import annotations

from crosslens.api.embedding import embed
from crosslens.api.evaluate_request import EvaluateRequest
from crosslens.api.evaluating import compare, evaluate, measure, measure_and_compare
from crosslens.api.fit_request import FitRequest
from crosslens.api.fitting import fit, train
from crosslens.data.source import Source, open_catalog

__all__ = [
    "EvaluateRequest",
    "FitRequest",
    "Source",
    "compare",
    "embed",
    "evaluate",
    "fit",
    "measure",
    "measure_and_compare",
    "open_catalog",
    "train",
]
