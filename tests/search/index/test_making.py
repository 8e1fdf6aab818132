"""Indexes that are made whole or not at all, wherever the process that makes them dies."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from crosslens.data.catalog import Catalog
from crosslens.encoder import Encoder
from crosslens.search.index import making
from crosslens.search.index.index import Index
from crosslens.search.stores import store_class
from crosslens.support.errors import StoreError
from testing.stores import needs_milvus
from testing.tiny_backbone import TinyBackbone
from testing.tiny_pictures import make_pictures

TESTS = Path(__file__).parents[2]
STEPS = ("draft", "encoder", "create", "upsert", "description")
STORES = ["lance", "exact", pytest.param("milvus", marks=needs_milvus)]
BUILD = """
import os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from search.index.test_making import die_at
from crosslens.data.catalog import Catalog
from crosslens.encoder import Encoder
from crosslens.search.index.index import Index
from testing.tiny_backbone import TinyBackbone, register_tiny
register_tiny()
die_at(setattr, sys.argv[4], "exact", lambda: os._exit(9))
Index.build(Catalog.open(sys.argv[2]), Encoder(TinyBackbone()), sys.argv[3], store="exact", domains=["photo"])
"""


class KilledError(BaseException):
    """Not an error that anything may handle."""


def die_at(patch, step, kind, die):
    """Let the making of an index die just before one of its steps."""

    def dying(*arguments, **options):
        die()

    if step in ("draft", "description"):
        last = ".unfinished.json" if step == "draft" else "index.json"
        write = making.write_json
        patch(making, "write_json", lambda file, value: die() if file.name == last else write(file, value))
    elif step == "encoder":
        patch(Encoder, "save", dying)
    else:
        patch(store_class(kind), step, dying)


def killed():
    raise KilledError


def address(kind, tmp_path):
    return f"milvus:{tmp_path / 'items.db'}" if kind == "milvus" else kind


def state(index):
    return {
        row["id"]: (vector.tobytes(), row["domain"], row["root"])
        for rows, vectors in index.scan(vectors=True)
        for row, vector in zip(rows.to_pylist(), vectors, strict=True)
    }


@pytest.mark.parametrize("kind", STORES)
@pytest.mark.parametrize("step", STEPS)
def test_a_build_that_dies_may_be_done_again(pictures, tmp_path, monkeypatch, kind, step):
    encoder, catalog, store = Encoder(TinyBackbone()), Catalog.open(pictures), address(kind, tmp_path)
    with monkeypatch.context() as patch:
        die_at(patch.setattr, step, kind, killed)
        with pytest.raises(KilledError):
            Index.build(catalog, encoder, tmp_path / "i", store=store, domains=["photo"])
    with pytest.raises(StoreError, match="holds no index"):
        Index.open(tmp_path / "i")
    built, _ = Index.build(catalog, encoder, tmp_path / "i", store=store, domains=["photo"])
    assert len(built) == 48
    fresh, _ = Index.build(catalog, encoder, tmp_path / "fresh", store="exact", domains=["photo"])
    opened = built if kind == "milvus" else Index.open(tmp_path / "i")
    assert state(opened) == state(fresh)
    # Whoever has the items has their root and the choice of domains.
    assert opened.roots == [pictures.resolve()]
    assert opened.domains_of(str(pictures.resolve())) == ["photo"]
    assert not (tmp_path / "i" / ".unfinished.json").exists()


@needs_milvus
def test_a_collection_of_a_build_that_died_is_not_left_behind(pictures, tmp_path, monkeypatch):
    encoder, catalog, store = Encoder(TinyBackbone()), Catalog.open(pictures), address("milvus", tmp_path)
    with monkeypatch.context() as patch:
        die_at(patch.setattr, "description", "milvus", killed)
        with pytest.raises(KilledError):
            Index.build(catalog, encoder, tmp_path / "i", store=store)
    built, _ = Index.build(catalog, encoder, tmp_path / "i", store=store)
    assert len(built.store.inner._client.list_collections()) == 1


def test_a_build_that_is_really_killed(pictures, tmp_path):
    for step in ("upsert", "description"):
        done = subprocess.run(
            [sys.executable, "-c", BUILD, str(TESTS), str(pictures), str(tmp_path / "i"), step],
            env=os.environ | {"CROSSLENS_CACHE": str(tmp_path / "cache")},
            capture_output=True,
            timeout=600,
        )
        assert done.returncode == 9, done.stderr.decode()
    built, _ = Index.build(Catalog.open(pictures), Encoder(TinyBackbone()), tmp_path / "i", store="exact")
    assert len(Index.open(tmp_path / "i")) == len(built) == 96


def test_a_folder_in_use_is_refused_before_anything_is_embedded(pictures, tmp_path, monkeypatch):
    encoder, catalog = Encoder(TinyBackbone()), Catalog.open(pictures)
    (tmp_path / "full" / "uploads").mkdir(parents=True)
    (tmp_path / "full" / "uploads" / "holiday.png").write_bytes(b"precious")
    (tmp_path / "file").write_text("precious")
    monkeypatch.setattr("crosslens.features.of_encoder.features_of_encoder", None)
    with pytest.raises(StoreError, match="not empty"):
        Index.build(catalog, encoder, tmp_path / "full")
    with pytest.raises(StoreError, match="is a file"):
        Index.build(catalog, encoder, tmp_path / "file")
    assert (tmp_path / "full" / "uploads" / "holiday.png").read_bytes() == b"precious"


def test_an_empty_index_can_be_added_to(pictures, tmp_path):
    index = Index.create(tmp_path / "i", Encoder(TinyBackbone()))
    assert len(Index.open(tmp_path / "i")) == 0
    assert index.add(Catalog.open(make_pictures(tmp_path / "more", count=1))).added == 8
    assert np.isfinite(index.vectors).all()
