"""A new store is one file and one line in ``STORES``; what it must do, ``test_conformance.py`` says."""

import pytest

from crosslens.data.catalog import Catalog
from crosslens.encoder import Encoder
from crosslens.search.index.index import Index
from crosslens.search.stores import STORES, describe_stores, parse_store, store_class
from crosslens.support.errors import ConfigError
from testing.tiny_backbone import TinyBackbone
from testing.toy_store import LINE, ToyStore


def test_every_store_has_its_own_names_for_its_files():
    named = [entry for kind in STORES for entry in store_class(kind).entries]
    assert len(named) == len(set(named))
    assert [store_class(kind).kind for kind in STORES] == list(STORES)


def test_a_line_makes_a_store(pictures, tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match="no store 'toy'; use lance, exact, milvus"):
        parse_store("toy")
    monkeypatch.setattr("crosslens.search.stores.STORES", STORES | LINE)
    assert store_class("toy") is ToyStore
    assert describe_stores().endswith(", toy (a folder a version)")
    # What an interrupted start left does not stand in the way.
    (tmp_path / "i" / "toy").mkdir(parents=True)
    built, skipped = Index.build(Catalog.open(pictures), Encoder(TinyBackbone()), tmp_path / "i", store="toy")
    assert (len(built), len(skipped)) == (96, 0)
    again = Index.open(tmp_path / "i")
    assert again.stats()["store"]["kind"] == "toy"
    assert sorted(again.items.column("id").to_pylist()) == sorted(Catalog.open(pictures).ids)
