"""The report: tables, curves, maps and retrieved images of one or several encoders, in one HTML file."""

from __future__ import annotations

from crosslens.report.maps import Embeddings
from crosslens.report.page import write_report
from crosslens.report.tables import Section
from crosslens.support.verbs import make_callable

__all__ = ["Embeddings", "Section", "write_report"]

make_callable(__name__)
