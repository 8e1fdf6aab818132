"""Indexing for people who only want to search."""

import shutil

import pytest

from crosslens.api import opening
from crosslens.data.catalog import Catalog
from testing.tiny_pictures import make_pictures


@pytest.fixture(autouse=True)
def _tiny(tiny_world, tmp_path, monkeypatch):
    monkeypatch.setenv("CROSSLENS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(opening, "EVERYDAY", "tiny")


@pytest.fixture
def photos(tmp_path):
    """Pictures by year and place."""
    return make_pictures(tmp_path / "Photos", 3, looks=("photo", "sketch"), shapes=("circle", "cross"))


def test_folders_stay_folders_and_nothing_is_written_beside_the_pictures(photos):
    before = sorted(photos.rglob("*"))
    index, report = opening.index_pictures(photos)
    assert (len(index), report.added, report.skipped) == (12, 12, [])
    assert index.stats()["domains"] == {"Photos": 12}
    assert set(index.items.column("label").to_pylist()) == {None}
    assert "photo/circle/00.png" in index.items.column("id").to_pylist()
    assert sorted(photos.rglob("*")) == before
    assert index.folder == opening.place_of_index(photos)
    assert index.name == "Photos"


def test_a_second_call_looks_at_what_changed_alone(photos):
    opening.index_pictures(photos)
    _, report = opening.index_pictures(photos)
    assert (report.unchanged, report.added, report.removed) == (12, 0, 0)
    shutil.copy(photos / "photo" / "circle" / "00.png", photos / "2026.png")
    (photos / "sketch" / "cross" / "01.png").unlink()
    index, report = opening.index_pictures(photos)
    assert (report.unchanged, report.added, report.removed) == (11, 1, 1)
    assert index.stats()["domains"] == {"Photos": 12}


def test_items_stay_when_most_pictures_are_gone(photos, capsys):
    opening.index_pictures(photos)
    shutil.rmtree(photos / "photo")
    for file in (photos / "sketch" / "cross").iterdir():
        file.unlink()
    index, report = opening.index_pictures(photos)
    assert (len(index), report.removed) == (12, 0)
    assert "9 of the 12 items" in " ".join(capsys.readouterr().err.split())


def test_a_manifest_means_its_domains(photos):
    Catalog.open(photos).write(photos / "manifest.csv")
    index, _ = opening.index_pictures(photos)
    assert index.stats()["domains"] == {"photo": 6, "sketch": 6}


def test_a_plain_index_is_one_after_it_was_restored(photos, tmp_path):
    index, _ = opening.index_pictures(photos)
    index.snapshot(tmp_path / "copy")
    back = type(index).restore(tmp_path / "copy", tmp_path / "back")
    report = back.add(photos)
    assert report.unchanged == 12
    assert back.stats()["domains"] == {"Photos": 12}
