"""Features through the cache."""

import numpy as np

from crosslens.data.catalog import Catalog
from crosslens.features import load
from testing.tiny_backbone import TinyBackbone


def test_another_revision_of_the_decoder_embeds_again(pictures, tmp_path, monkeypatch):
    monkeypatch.setenv("CROSSLENS_CACHE", str(tmp_path))
    catalog, backbone = Catalog.open(pictures), TinyBackbone()
    first = load.features_of(catalog, backbone)
    folders = {place.name for place in (tmp_path / "features").glob("*/*")}
    monkeypatch.setattr(load, "REVISION", load.REVISION + 1)
    second = load.features_of(catalog, backbone)
    assert len({place.name for place in (tmp_path / "features").glob("*/*")} - folders) == 1
    assert first.fingerprint == second.fingerprint
    assert np.array_equal(first.values, second.values)
