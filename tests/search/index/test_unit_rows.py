"""Every door of an index lets in vectors of length 1, and what is in comes back from a snapshot."""

import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pa_parquet
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from crosslens.data.catalog import Catalog
from crosslens.encoder import Encoder
from crosslens.encoder.parts import Centre
from crosslens.features.load import features_of
from crosslens.search.index.index import Index
from crosslens.search.index.items import check_items
from crosslens.search.index.unit_rows import find_faults, restore_unit_length
from crosslens.support.errors import FeatureError, StoreError
from testing.stores import needs_milvus
from testing.tiny_backbone import TinyBackbone

DIM = 64
STORES = ["lance", "exact", pytest.param("milvus", marks=needs_milvus)]


def address(kind, tmp_path):
    return f"milvus:{tmp_path / 'items.db'}" if kind == "milvus" else kind


def unit(count, seed=0):
    rows = np.random.default_rng(seed).normal(size=(count, DIM))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def items(ids):
    return pa.table({"id": ids, "path": ids, "domain": ["d"] * len(ids), "label": pa.nulls(len(ids), pa.string())})


class Blind(Encoder):
    """Sees nothing in some of the pictures it is given, counted in the order of a call."""

    def __init__(self, blind, value):
        super().__init__(TinyBackbone())
        self.blind, self.value = blind, value

    def encode_features(self, features, domains=None):
        rows = super().encode_features(features, domains)
        rows[[row for row in self.blind if row < len(rows)]] = self.value
        return rows


BAD = [0.0, np.nan, np.inf, -np.inf, 1e-30, 3.0]


def test_which_rows_have_faults_and_why():
    rows = np.concatenate([unit(3), np.zeros((1, DIM), np.float32), 2 * unit(1, seed=1), unit(1, seed=2)])
    rows[5, 7] = np.nan
    found = find_faults(rows)
    assert set(found) == {3, 4, 5}
    assert "length 0" in found[3]
    assert "length 2, not 1" in found[4]
    assert "NaN or infinity" in found[5]
    assert find_faults(unit(200).astype(np.float16)) == {}
    assert find_faults(np.empty((0, DIM), np.float32)) == {}
    assert set(find_faults(np.full((1, DIM), 3e38, np.float32))) == {0}


@given(st.integers(0, 2**31), st.floats(0.9991, 1.0009))
def test_lengths_are_one_and_exact_rows_stay(seed, length):
    rows = unit(20, seed)
    made = restore_unit_length(rows * np.float32(length))
    assert made.dtype == np.float32
    scores = (made.astype(np.float64) ** 2).sum(1)
    assert np.abs(scores - 1).max() < 1e-6
    assert np.allclose(made, rows, atol=1e-6)
    assert np.array_equal(restore_unit_length(made), made)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("lance", 0.0),
        ("exact", np.nan),
        pytest.param("milvus", 0.0, marks=needs_milvus),
        ("exact", -np.inf),
        ("exact", 1e-30),
        ("exact", 3.0),
    ],
)
def test_build_and_add_leave_such_pictures_out_and_say_so(pictures, tiny_world, tmp_path, kind, value):
    catalog = Catalog.open(pictures)
    photos, lost = catalog.select(domains=["photo"]), "photo/circle/03.png"
    index, skipped = Index.build(photos, Blind([3], value), tmp_path / "i", store=address(kind, tmp_path))
    assert (len(index), len(skipped)) == (47, 1)
    assert str(pictures / lost) in skipped[0]
    assert "its vector has length" in skipped[0] or "its vector holds NaN" in skipped[0]
    index.contents.encoder = Blind([0, 5], value)
    report = index.add(catalog.select(domains=["sketch"]))
    assert (report.added, len(report.skipped)) == (46, 2)
    index.snapshot(tmp_path / "s")
    assert len(Index.restore(tmp_path / "s", tmp_path / "back")) == 93
    index.close()


def test_an_item_whose_new_picture_has_no_vector_is_not_found_by_the_old_one(pictures, tiny_world, tmp_path):
    index, _ = Index.build(Catalog.open(pictures), Encoder(TinyBackbone()), tmp_path / "i", store="exact")
    shutil.copy(pictures / "photo" / "cross" / "01.png", pictures / "photo" / "circle" / "00.png")
    index.contents.encoder = Blind([0], 0.0)
    report = index.add(Catalog.open(pictures))
    assert (report.changed, report.removed, len(report.skipped)) == (0, 1, 1)
    assert "length 0, so it is like no other; its item was deleted" in report.skipped[0]
    assert len(index) == 95


def test_when_nothing_has_a_vector(pictures, tiny_world, tmp_path):
    with pytest.raises(FeatureError, match=r"none of the 96 images.*length 0"):
        Index.build(Catalog.open(pictures), Blind(range(96), 0.0), tmp_path / "i")
    assert not (tmp_path / "i").exists()


@pytest.mark.parametrize("value", BAD)
def test_ready_vectors_are_refused_whole(tiny_world, tmp_path, value):
    encoder = Encoder(TinyBackbone())
    index = Index.create(tmp_path / "i", encoder, store="exact")
    rows = unit(3)
    rows[1] = value
    with pytest.raises(StoreError, match=r"1 of 3 vectors (do not have length 1|hold NaN).*nothing was added"):
        index.upsert(items(["a", "b", "c"]), rows, encoder.fingerprint)
    assert len(index) == 0


def test_an_encoder_whose_centre_is_one_picture(pictures, tmp_path):
    """Such encoders may exist from before; an index is made, copied and restored all the same."""
    backbone, catalog = TinyBackbone(), Catalog.open(pictures).select(domains=["photo"])
    row = catalog.ids.index("photo/circle/00.png")
    centre = torch.from_numpy(features_of(catalog, backbone).centre)[row]
    encoder = Encoder(backbone, [Centre({"photo": centre})], method="centred")
    index, skipped = Index.build(catalog, encoder, tmp_path / "i")
    assert skipped == [f"{pictures / 'photo/circle/00.png'}: its vector has length 0, so it is like no other"]
    index.snapshot(tmp_path / "s")
    assert len(Index.restore(tmp_path / "s", tmp_path / "back")) == len(index) == 47


NAMES = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), min_size=1, max_size=20)


@pytest.mark.parametrize("kind", ["lance", "exact"])
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(NAMES, NAMES, st.none() | NAMES, st.none() | st.integers(0, 2**62)), unique_by=lambda r: r[0]
    ),
    st.integers(0, 2**31),
    st.sampled_from([np.float16, np.float32, np.float64]),
)
def test_whatever_can_be_built_comes_back_from_a_snapshot(tiny_world, tmp_path_factory, kind, rows, seed, dtype):
    folder, encoder = tmp_path_factory.mktemp("x"), Encoder(TinyBackbone())
    index = Index.create(folder / "i", encoder, store=kind)
    columns = {
        "id": [row[0] for row in rows],
        "path": [f"/{row[0]}" for row in rows],
        "domain": [row[1] for row in rows],
        "label": pa.array([row[2] for row in rows], pa.string()),
        "size": pa.array([row[3] for row in rows], pa.int64()),
    }
    table = pa.table({k: pa.array(v, pa.string()) if isinstance(v, list) else v for k, v in columns.items()})
    index.upsert(table, unit(len(rows), seed).astype(dtype), encoder.fingerprint)
    index.snapshot(folder / "s")
    for store in ("lance", "exact"):
        made = Index.restore(folder / "s", folder / f"back-{store}", store=store)
        assert by_id(made) == by_id(index)


def by_id(index):
    return {
        row["id"]: (row, vector.tobytes())
        for table, vectors in index.scan(vectors=True)
        for row, vector in zip(table.to_pylist(), vectors, strict=True)
    }


@pytest.mark.parametrize("kind", STORES)
def test_a_row_scores_one_with_itself(tiny_world, tmp_path, kind):
    """Also where it was rounded on its way here; copies as well, whatever their number."""
    encoder = Encoder(TinyBackbone())
    index = Index.create(tmp_path / "i", encoder, store=address(kind, tmp_path))
    rows = np.concatenate([unit(40).astype(np.float16), np.repeat(unit(1, seed=9), 40, axis=0)])
    index.upsert(items([f"n{row:02d}" for row in range(80)]), rows, encoder.fingerprint)
    held = {image: index.get(image)[1] for image in ("n00", "n17", "n39", "n40", "n79")}
    for image, vector in held.items():
        for exact in (False, True):
            hits = index.search(vector[None], 80, exact=exact)[0]
            own = next(hit for hit in hits if hit.id == image)
            assert abs(own.score - 1) < 1e-6
            assert hits[0].score == own.score
    assert {hit.score for hit in index.search(held["n40"][None], 40)[0]} == {own.score}
    index.close()


def test_a_snapshot_with_rows_of_length_0_is_restored_without_them(pictures, tiny_world, tmp_path, capsys):
    index, _ = Index.build(Catalog.open(pictures), Encoder(TinyBackbone()), tmp_path / "i", store="exact")
    index.snapshot(tmp_path / "s")
    vectors = load_file(tmp_path / "s" / "vectors.safetensors")["vectors"]
    vectors[7] = 0
    save_file({"vectors": vectors}, tmp_path / "s" / "vectors.safetensors")
    lost = pa_parquet.read_table(tmp_path / "s" / "items.parquet").column("id")[7].as_py()
    made = Index.restore(tmp_path / "s", tmp_path / "back")
    assert len(made) == 95
    assert lost not in made.items.column("id").to_pylist()
    assert lost in capsys.readouterr().err
    vectors[8, 0] += 1
    save_file({"vectors": vectors}, tmp_path / "s" / "vectors.safetensors")
    with pytest.raises(StoreError, match=r"damaged.*not all vectors have length 1"):
        Index.restore(tmp_path / "s", tmp_path / "again")


def test_integers_of_any_kind_are_checked_too():
    with pytest.raises(StoreError, match="1 of 1 vectors do not have length 1"):
        check_items(items(["a"]), np.ones((1, DIM), np.int64), DIM)
