"""A file that is another one now is embedded again, whatever its size and time say; older indexes go on."""

import json
import os
import shutil

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from crosslens.data.catalog import Catalog
from crosslens.encoder import Encoder
from crosslens.search.index.description import FORMAT
from crosslens.search.index.index import Index
from crosslens.search.stores import base
from crosslens.support.errors import StoreError
from testing.stores import needs_milvus
from testing.tiny_backbone import TinyBackbone

STORES = ["lance", "exact", pytest.param("milvus", marks=needs_milvus)]
TIME = 1_700_000_000 * 10**9


@pytest.fixture
def encoder(tiny_world):
    return Encoder(TinyBackbone())


@pytest.fixture
def root(tmp_path):
    """Bitmaps of one size and one time, as archives leave them."""
    rng = np.random.default_rng(0)
    for number in range(6):
        file = tmp_path / "pictures" / "photo" / f"{number}.bmp"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(file)
        os.utime(file, ns=(TIME, TIME))
    return tmp_path / "pictures"


def address(kind, tmp_path):
    return f"milvus:{tmp_path / 'items.db'}" if kind == "milvus" else kind


def counts(report):
    return report.added, report.changed, report.unchanged, report.removed, len(report.skipped)


def write_over(first, second):
    first.write_bytes(second.read_bytes())
    os.utime(first, ns=(TIME + 1000, TIME + 1000))


def write_over_and_set_the_time_back(first, second):
    first.write_bytes(second.read_bytes())
    os.utime(first, ns=(TIME, TIME))


def exchange(first, second):
    parked = first.with_name("parked")
    first.rename(parked)
    second.rename(first)
    parked.rename(second)


@pytest.mark.parametrize("kind", STORES)
@pytest.mark.parametrize("change", [write_over, write_over_and_set_the_time_back, exchange])
def test_another_content_of_the_same_size_and_second_is_seen(encoder, root, tmp_path, kind, change):
    index, _ = Index.build(Catalog.open(root), encoder, tmp_path / "i", store=address(kind, tmp_path))
    assert counts(index.add(Catalog.open(root))) == (0, 0, 6, 0, 0)
    first, second = root / "photo" / "0.bmp", root / "photo" / "1.bmp"
    change(first, second)
    count = 2 if change is exchange else 1
    assert counts(index.add(Catalog.open(root))) == (0, count, 6 - count, 0, 0)
    for file in (first, second):
        own = encoder.encode_images([file])[0]
        assert np.allclose(index.get(f"photo/{file.name}")[1], own, atol=1e-2)
    assert counts(index.add(Catalog.open(root))) == (0, 0, 6, 0, 0)
    index.close()


@pytest.fixture
def older(encoder, root, tmp_path, monkeypatch):
    """Makes an index as format 2 was: no stamps, and the paths of what links led to."""

    def make(kind):
        schema = pa.schema([entry for entry in base.ITEM_SCHEMA if entry.name != "stamp"])
        link = root / "photo" / "link.bmp"
        link.symlink_to(tmp_path / "elsewhere.bmp")
        shutil.copy(root / "photo" / "0.bmp", tmp_path / "elsewhere.bmp")
        with monkeypatch.context() as patched:
            for module in (
                "stores.base",
                "stores.exact",
                "stores.lance_table",
                "stores.structure_files",
                "stores.milvus",
                "index.items",
            ):
                patched.setattr(f"crosslens.search.{module}.ITEM_SCHEMA", schema)
            patched.setattr("crosslens.search.index.index.ITEM_SCHEMA", schema)
            patched.setattr("crosslens.search.index.description.FORMAT", 2)
            patched.setattr(
                "crosslens.search.index.items._named", lambda root, path: os.path.realpath(f"{root}/{path}")
            )
            patched.setattr("crosslens.search.index.items.read_file_columns", seconds_alone)
            index, _ = Index.build(Catalog.open(root), encoder, tmp_path / "i", store=address(kind, tmp_path))
            assert "stamp" not in index.items.column_names
            index.close()
        assert json.loads((tmp_path / "i" / "index.json").read_text())["format"] == 2
        return Index.open(tmp_path / "i")

    return make


def seconds_alone(paths):
    found = [path.stat() for path in paths]
    return {"size": [state.st_size for state in found], "modified": [int(state.st_mtime) for state in found]}


@pytest.mark.parametrize("kind", STORES)
def test_an_older_index_goes_on_without_embedding_anything(older, root, tmp_path, kind, monkeypatch, encoder):
    index = older(kind)
    before = {image: index.get(image)[1] for image in index.items.column("id").to_pylist()}
    assert index.items.column("stamp").null_count == 7
    assert index.get("photo/link.bmp")[0].path == str(tmp_path / "elsewhere.bmp")
    asked = index.sample(2)
    answers = [[hit.id for hit in hits] for hits in index.search(asked, 7)]
    with monkeypatch.context() as patched:
        patched.setattr("crosslens.features.of_encoder.features_of_encoder", None)
        assert counts(index.add(Catalog.open(root))) == (0, 0, 7, 0, 0)
    reopened = Index.open(index.folder)
    assert {image: index.get(image)[1].tobytes() for image in before} == {
        image: vector.tobytes() for image, vector in before.items()
    }
    assert [[hit.id for hit in hits] for hits in reopened.search(asked, 7)] == answers
    if kind == "milvus":
        # Its collections stay as they were made: size and seconds tell, as before.
        assert not index.store.keeps("stamp")
        assert counts(index.add(Catalog.open(root))) == (0, 0, 7, 0, 0)
    else:
        assert index.items.column("stamp").null_count == 0
        assert json.loads((index.folder / "index.json").read_text())["format"] == FORMAT
        assert index.get("photo/link.bmp")[0].path == str(root.resolve() / "photo" / "link.bmp")
        exchange(root / "photo" / "0.bmp", root / "photo" / "1.bmp")
        assert counts(index.add(Catalog.open(root))) == (0, 2, 5, 0, 0)
    (root / "photo" / "2.bmp").write_bytes((root / "photo" / "3.bmp").read_bytes())
    assert index.add(Catalog.open(root)).changed == 1
    own = encoder.encode_images([root / "photo" / "3.bmp"])[0]
    assert np.allclose(index.get("photo/2.bmp")[1], own, atol=1e-2)
    index.close()
    reopened.close()


@pytest.mark.parametrize("kind", STORES)
def test_an_older_index_is_read_searched_and_copied_as_it_is(older, tmp_path, kind):
    index = older(kind)
    assert index.delete(["photo/5.bmp"]) == 1
    index.snapshot(tmp_path / "s")
    restored = Index.restore(tmp_path / "s", tmp_path / "back", store="exact")
    assert len(restored) == len(index) == 6
    index.optimize()
    assert len(index.search(index.sample(1), 9)[0]) == 6
    index.close()


@pytest.mark.parametrize("kind", STORES)
def test_a_link_of_an_older_index_that_was_removed(older, root, kind):
    index = older(kind)
    (root / "photo" / "link.bmp").unlink()
    assert counts(index.add(Catalog.open(root))) == (0, 0, 6, 1, 0)
    assert "photo/link.bmp" not in index.items.column("id").to_pylist()
    index.close()


@pytest.mark.parametrize("kind", ["lance", "exact"])
def test_an_older_index_with_vectors_of_another_length(older, root, kind, capsys):
    index = older(kind)
    rows, vectors = index.store.get(["photo/0.bmp", "photo/1.bmp"])
    index.store.upsert(rows, vectors * np.array([[0], [3]], np.float32))
    report = index.add(Catalog.open(root))
    assert counts(report) == (0, 0, 7, 0, 0)
    assert "photo/0.bmp: a vector of length 0" in " ".join(capsys.readouterr().err.split())
    assert len(index) == 6
    assert np.allclose(index.get("photo/1.bmp")[1], vectors[1], atol=1e-6)
    assert counts(index.add(Catalog.open(root))) == (1, 0, 6, 0, 0)


def test_an_older_index_of_pictures_that_were_moved(older, root, tmp_path):
    index = older("lance")
    root.rename(tmp_path / "new")
    assert index.relocate(root, tmp_path / "new").changed == 0
    assert index.get("photo/link.bmp")[0].path == str(tmp_path / "new" / "photo" / "link.bmp")
    assert counts(index.add(Catalog.open(tmp_path / "new"))) == (0, 0, 7, 0, 0)


def test_a_newer_index_is_refused(older):
    folder = older("exact").folder
    file = folder / "index.json"
    file.write_text(file.read_text().replace('"format": 2', '"format": 99'))
    with pytest.raises(StoreError, match="newer crosslens"):
        Index.open(folder)
