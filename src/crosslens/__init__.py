"""crosslens: images in, an encoder that ignores the domain out, and everything to measure it and search with it.

Heavy parts (torch, pyarrow, faiss, onnxruntime) are imported on first use, so ``import crosslens`` stays fast.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from crosslens.support.version import __version__

_LAZY = {
    "Catalog": "crosslens.data.catalog",
    "CrosslensError": "crosslens.support.errors",
    "Encoder": "crosslens.encoder",
    "Index": "crosslens.search.index.index",
    "compare": "crosslens.api",
    "embed": "crosslens.api",
    "evaluate": "crosslens.api",
    "fit": "crosslens.api",
    "load_backbone": "crosslens.backbones",
    "load_encoder": "crosslens.encoder",
}

if TYPE_CHECKING:
    from crosslens.api import compare, embed, evaluate, fit
    from crosslens.backbones import load_backbone
    from crosslens.data.catalog import Catalog
    from crosslens.encoder import Encoder, load_encoder
    from crosslens.search.index.index import Index
    from crosslens.support.errors import CrosslensError

__all__ = [
    "Catalog",
    "CrosslensError",
    "Encoder",
    "Index",
    "__version__",
    "compare",
    "embed",
    "evaluate",
    "fit",
    "load_backbone",
    "load_encoder",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'crosslens' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
