"""The feature folder against a dictionary, and its memory."""

import gc
import tracemalloc

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pa_parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

import crosslens
from crosslens.data import catalog
from crosslens.features import embed, store
from crosslens.features.store import FeatureConfig, FeatureStore, _Shard
from testing.tiny_backbone import TinyBackbone, register_tiny


@given(
    st.lists(st.lists(st.sampled_from("abcdefghé"), unique=True, max_size=6), max_size=6),
    st.lists(st.sampled_from("abcdefghéxy"), max_size=12),
    st.integers(1, 5),
)
def test_the_last_row_of_an_image_is_found(shards, wanted, at_once):
    known = {}
    for number, ids in enumerate(shards):
        for row, image in enumerate(ids):
            known[image] = (sum(map(len, shards[:number])) + row, f"{image}|{number}")
    columns = [(pa.array(ids, pa.string()), pa.array([f"{i}|{n}" for i in ids], pa.string()))
               for n, ids in enumerate(shards)]  # fmt: skip
    opened = FeatureStore(None, None, [_Shard(None, *pair, []) for pair in columns], [])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "_AT_ONCE", at_once)
        places = opened.locate(wanted)
        half = len(wanted) // 2
        column = pa.chunked_array([wanted[:half], wanted[half:]], pa.string())
        assert np.array_equal(opened.locate(column), places)
    assert places.tolist() == [known[image][0] if image in known else -1 for image in wanted]
    assert opened.stamps(places) == [known[image][1] if image in known else None for image in wanted]
    assert len(opened) == len(known)
    assert set(opened.ids.to_pylist()) == set(known)
    assert all((image in opened) == (image in known) for image in wanted)


@pytest.mark.slow
def test_the_memory_of_a_fit_does_not_grow_with_its_names(tiny_world, tmp_path, monkeypatch):
    """From a table on disk to the run, names and stamps are never Python's own for more than a part at a time."""
    register_tiny()
    monkeypatch.setattr(embed, "_PART", 1024)
    monkeypatch.setattr(catalog, "_AT_ONCE", 1024)
    settings = {"epochs": 1, "most_steps": 2, "batch_size": 16, "views": 1, "bank_rows": 64, "head": [16, 8]}

    def most_held(size):
        features = tmp_path / f"{size}"
        made = FeatureStore.create(features, FeatureConfig.of(TinyBackbone(), 1))
        names = [f"pictures/of/some/folder/{row:09d}.jpg" for row in range(size)]
        for start in range(0, size, 2048):
            some = names[start : start + 2048]
            rows = np.random.default_rng(start).standard_normal((len(some), 2, 64))
            made.add_shard(some, [f"{one}|missing" for one in some], rows, [])
        domains = np.where(np.arange(size) % 2, "painted", "photo")
        pa_parquet.write_table(pa.table({"path": names, "domain": domains}), tmp_path / f"{size}.parquet")
        del made, names, some, domains
        gc.collect()
        tracemalloc.start()
        crosslens.fit(
            "instance",
            tmp_path / f"{size}.parquet",
            out=tmp_path / f"run-{size}",
            backbone="tiny",
            features=features,
            set=settings,
            device="cpu",
        )
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    most_held(4_000)  # what is imported and made once
    small, large = most_held(20_000), most_held(80_000)
    # An id alone is 86 bytes as Python's own, and there are paths and stamps beside it.
    assert (large - small) / 60_000 < 50
