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


def test_skipped_images_are_told_unless_the_caller_names_them(pictures, tmp_path, capsys):
    (pictures / "photo" / "circle" / "00.png").write_bytes(b"broken")
    catalog, backbone = Catalog.open(pictures), TinyBackbone()
    for tell in (True, False):
        found = load.features_of(catalog, backbone, folder=tmp_path / str(tell), tell=tell)
        assert len(found.skipped) == 1
        assert ("1 image(s) skipped" in capsys.readouterr().err) == tell
