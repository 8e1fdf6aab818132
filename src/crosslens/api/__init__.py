"""The verbs of the command line as Python functions."""

from __future__ import annotations

from crosslens.api.embedding import embed
from crosslens.api.evaluating import compare, evaluate
from crosslens.api.fitting import fit
from crosslens.data.source import Source, open_catalog

__all__ = ["Source", "compare", "embed", "evaluate", "fit", "open_catalog"]
