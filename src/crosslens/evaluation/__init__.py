"""Measuring retrieval: exact rankings, metrics in named conventions, results, significance."""

from __future__ import annotations

from crosslens.evaluation.conventions import CONVENTIONS, Convention, Metric
from crosslens.evaluation.metrics import MetricAccumulator
from crosslens.evaluation.results import RetrievalResults, evaluate_retrieval
from crosslens.evaluation.significance import bootstrap_classes, bootstrap_queries, paired_randomisation
from crosslens.ops.ranking import rank_chunks, top_k_chunks

__all__ = [
    "CONVENTIONS",
    "Convention",
    "Metric",
    "MetricAccumulator",
    "RetrievalResults",
    "bootstrap_classes",
    "bootstrap_queries",
    "evaluate_retrieval",
    "paired_randomisation",
    "rank_chunks",
    "top_k_chunks",
]
