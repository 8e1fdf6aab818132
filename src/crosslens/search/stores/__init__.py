"""Where an index keeps its items: one store a kind, all behind the same protocol."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from crosslens.support.errors import ConfigError
from crosslens.support.near_names import did_you_mean

if TYPE_CHECKING:
    from crosslens.search.stores.base import Store


@dataclass(frozen=True)
class StoreKind:
    """One way to keep items, and what is told of it before its class is imported: some need heavy libraries.

    Attributes:
        place: of its class, ``module:Class``.
        about: a few words for ``--help``.
        addresses: what may follow ``KIND:``, for ``--help``; none where nothing may.
    """

    place: str
    about: str
    addresses: tuple[str, ...] = ()

    def form(self, kind: str) -> str:
        """How ``parse_store`` takes it under the name ``kind``."""
        return " or ".join(f"{kind}:{address}" for address in self.addresses) or kind


STORES: dict[str, StoreKind] = {
    "lance": StoreKind("crosslens.search.stores.lance:LanceStore", "files, up to millions"),
    "exact": StoreKind("crosslens.search.stores.exact:ExactStore", "plain files, thousands"),
    "milvus": StoreKind(
        "crosslens.search.stores.milvus:MilvusStore",
        "one file or a server",
        ("FILE.db", "http://HOST:19530[#ALIAS]"),
    ),
}
DEFAULT = "lance"


def parse_store(text: str) -> tuple[str, dict[str, Any]]:
    """Kind and settings from ``KIND`` or ``KIND:ADDRESS``, such as ``lance`` or ``milvus:FILE.db``.

    Raises:
        ConfigError: for a kind that does not exist, or an address that it does not take.
    """
    kind, _, uri = text.partition(":")
    addresses = _known(kind).addresses
    if uri and not addresses:
        raise ConfigError(f"the store {kind!r} takes no address; leave out {uri!r}")
    if "@" in urlsplit(uri).netloc:
        raise ConfigError(
            "an address with a password would be kept in the index; leave out what stands before @, and set"
            " CROSSLENS_MILVUS_TOKEN to USER:PASSWORD"
        )
    if uri and "://" not in uri:
        # Found again from whatever folder the index is opened.
        return kind, {"uri": str(Path(uri).resolve())}
    uri, _, alias = uri.partition("#")
    given = {"uri": uri, "alias": alias}
    return kind, {name: value for name, value in given.items() if value}


def store_class(kind: str) -> type[Store]:
    """The class of a kind of store.

    Raises:
        ConfigError: for a kind that does not exist.
    """
    module, _, name = _known(kind).place.partition(":")
    found: type[Store] = getattr(importlib.import_module(module), name)
    return found


def store_entries() -> frozenset[str]:
    """What stores of all kinds call their files and folders in the folder of an index."""
    return frozenset().union(*(store_class(kind).entries for kind in STORES))


def describe_stores() -> str:
    """Each kind as ``parse_store`` takes it, and what it is."""
    return ", ".join(f"{entry.form(kind)} ({entry.about})" for kind, entry in STORES.items())


def _known(kind: str) -> StoreKind:
    if kind not in STORES:
        raise ConfigError(f"there is no store {kind!r}; use {', '.join(STORES)}{did_you_mean(kind, STORES)}")
    return STORES[kind]
