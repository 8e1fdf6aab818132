"""crosslens: images in, an encoder that ignores the domain out, and everything to measure it and search with it.

The verbs of the command line are functions: ``fit``, ``evaluate``, ``compare``, ``report``, ``embed``, ``index``,
``search``, ``match``, ``export`` and ``benchmark``. Heavy parts (torch, pyarrow, faiss, onnxruntime) are imported
on first use, so ``import crosslens`` stays fast.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from crosslens.support.first_use import on_first_use
from crosslens.support.version import __version__

_LAZY = {
    "Answer": "crosslens.search.query.query",
    "Catalog": "crosslens.data.catalog",
    "CrosslensError": "crosslens.support.errors",
    "Encoder": "crosslens.encoder",
    "Evaluation": "crosslens.evaluation.measured",
    "Index": "crosslens.search.index.index",
    "Run": "crosslens.training.run",
    "Searcher": "crosslens.search.query.searcher",
    "benchmark": "crosslens.api",
    "compare": "crosslens.api",
    "embed": "crosslens.api",
    "evaluate": "crosslens.api",
    "export": "crosslens.api",
    "fit": "crosslens.api",
    "index": "crosslens.api",
    "load_backbone": "crosslens.backbones",
    "load_encoder": "crosslens.encoder",
    "match": "crosslens.api",
}
_ROOMS = ("report", "search")
"""Verbs whose name a folder of the package has too: importing from it makes it an attribute of ``crosslens``, so
the folder itself can be called; see ``crosslens.support.verbs``."""

if TYPE_CHECKING:
    from crosslens.api import benchmark, compare, embed, evaluate, export, fit, index, match, report, search
    from crosslens.backbones import load_backbone
    from crosslens.data.catalog import Catalog
    from crosslens.encoder import Encoder, load_encoder
    from crosslens.evaluation.measured import Evaluation
    from crosslens.search.index.index import Index
    from crosslens.search.query.query import Answer
    from crosslens.search.query.searcher import Searcher
    from crosslens.support.errors import CrosslensError
    from crosslens.training.run import Run

__all__ = [
    "Answer",
    "Catalog",
    "CrosslensError",
    "Encoder",
    "Evaluation",
    "Index",
    "Run",
    "Searcher",
    "__version__",
    "benchmark",
    "compare",
    "embed",
    "evaluate",
    "export",
    "fit",
    "index",
    "load_backbone",
    "load_encoder",
    "match",
    "report",
    "search",
]


_get = on_first_use(__name__, _LAZY)


def __getattr__(name: str) -> Any:
    return import_module(f"{__name__}.{name}") if name in _ROOMS else _get(name)


def __dir__() -> list[str]:
    return sorted(__all__)
