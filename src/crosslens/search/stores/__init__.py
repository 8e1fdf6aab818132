"""Where an index keeps its items: one store a kind, all behind the same protocol."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crosslens.support.errors import ConfigError

if TYPE_CHECKING:
    from crosslens.search.stores.base import Store

STORES = {
    "lance": "crosslens.search.stores.lance:LanceStore",
    "exact": "crosslens.search.stores.exact:ExactStore",
    "milvus": "crosslens.search.stores.milvus:MilvusStore",
}
"""Kind to class; a class is imported when it is asked for, because some need heavy libraries."""
DEFAULT = "lance"


def parse_store(text: str) -> tuple[str, dict[str, Any]]:
    """Kind and settings from ``lance``, ``exact``, ``milvus:FILE.db`` or ``milvus:http://HOST:19530``.

    Raises:
        ConfigError: for a kind that does not exist.
    """
    kind, _, uri = text.partition(":")
    if kind not in STORES:
        raise ConfigError(f"there is no store {kind!r}; use {', '.join(STORES)}")
    if uri and kind != "milvus":
        raise ConfigError(f"the store {kind!r} takes no address; leave out {uri!r}")
    if uri and "://" not in uri:
        # Found again from whatever folder the index is opened.
        uri = str(Path(uri).resolve())
    return kind, {"uri": uri} if uri else {}


def store_class(kind: str) -> type[Store]:
    """The class of a kind of store.

    Raises:
        ConfigError: for a kind that does not exist.
    """
    if kind not in STORES:
        raise ConfigError(f"there is no store {kind!r}; use {', '.join(STORES)}")
    module, _, name = STORES[kind].partition(":")
    found: type[Store] = getattr(importlib.import_module(module), name)
    return found
