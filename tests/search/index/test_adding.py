"""``Index.add``: only what is new or changed is embedded, what is gone is removed, nothing is lost on the way."""

import json
import os
import shutil

import numpy as np
import pytest

from crosslens.data.catalog import Catalog
from crosslens.encoder import Encoder
from crosslens.features.of_encoder import features_of_encoder
from crosslens.search.index.index import Index
from crosslens.support.errors import CatalogError, StoreError
from testing.tiny_backbone import TinyBackbone
from testing.tiny_pictures import make_pictures


@pytest.fixture
def encoder(tiny_world):
    return Encoder(TinyBackbone())


@pytest.fixture
def index(encoder, tmp_path):
    return Index.create(tmp_path / "i", encoder)


def counts(report):
    return report.added, report.changed, report.unchanged, report.removed, len(report.skipped)


def state(index):
    """id to vector, label and domain."""
    return {
        row["id"]: (vector.tobytes(), row["label"], row["domain"])
        for rows, vectors in index.scan(vectors=True)
        for row, vector in zip(rows.to_pylist(), vectors, strict=True)
    }


def test_only_differences_are_done(index, pictures, encoder, monkeypatch):
    assert counts(index.add(Catalog.open(pictures))) == (96, 0, 0, 0, 0)
    assert index.roots == [pictures.resolve()]
    before = index.version
    assert counts(index.add(Catalog.open(pictures))) == (0, 0, 96, 0, 0)
    assert index.version == before

    changed, gone = pictures / "photo" / "circle" / "00.png", pictures / "sketch" / "cross" / "01.png"
    shutil.copy(pictures / "photo" / "square" / "05.png", changed)
    os.utime(changed, (2_000_000_000, 2_000_000_000))
    gone.unlink()
    shutil.copy(changed, pictures / "photo" / "circle" / "new.png")
    embedded = []
    original = Encoder.encode_features

    def counted(self, features, domains=None):
        embedded.append(len(features))
        return original(self, features, domains)

    monkeypatch.setattr(Encoder, "encode_features", counted)
    assert counts(index.add(Catalog.open(pictures))) == (1, 1, 94, 1, 0)
    assert sum(embedded) == 2
    monkeypatch.undo()

    # The same as an index built from nothing.
    fresh, _ = Index.build(Catalog.open(pictures), encoder, index.folder.parent / "fresh", store="exact")
    assert state(Index.open(index.folder)) == state(fresh)
    hit, vector = index.get("photo/circle/new.png")
    assert hit.size == changed.stat().st_size
    assert hit.modified == int((pictures / "photo" / "circle" / "new.png").stat().st_mtime)
    assert np.array_equal(vector, index.get("photo/circle/00.png")[1])


def test_a_selection_removes_nothing_that_is_there(index, pictures):
    index.add(Catalog.open(pictures))
    photos = Catalog.open(pictures).select(domains=["photo"])
    assert counts(index.add(photos)) == (0, 0, 48, 0, 0)
    (pictures / "sketch" / "cross" / "01.png").unlink()
    assert counts(index.add(photos, remove_gone=False)) == (0, 0, 48, 0, 0)
    assert counts(index.add(photos)) == (0, 0, 48, 1, 0)
    assert len(index) == 95


def test_another_label_needs_no_embedding(index, pictures, monkeypatch):
    catalog = Catalog.open(pictures)
    index.add(catalog)
    vector = index.get("photo/circle/00.png")[1]
    monkeypatch.setattr("crosslens.features.of_encoder.features_of_encoder", None)
    report = index.add(catalog.relabel(lambda name: "round" if name == "circle" else name))
    assert counts(report) == (0, 24, 72, 0, 0)
    assert index.get("photo/circle/00.png")[0].label == "round"
    assert np.array_equal(index.get("photo/circle/00.png")[1], vector)


def test_two_roots_and_ids_that_collide(index, pictures, tmp_path):
    index.add(Catalog.open(pictures))
    other = make_pictures(tmp_path / "other", count=2, looks=("clipart",), seed=1)
    assert counts(index.add(Catalog.open(other))) == (8, 0, 0, 0, 0)
    assert len(index.roots) == 2
    before = state(index)
    twin = make_pictures(tmp_path / "twin", count=1, looks=("photo",), seed=2)
    with pytest.raises(StoreError, match=r"'photo/circle/00.png' of another folder.*cannot be added"):
        index.add(Catalog.open(twin))
    assert state(index) == before
    assert len(index.roots) == 2
    shutil.rmtree(other / "clipart" / "circle")
    assert counts(index.add(Catalog.open(other))) == (0, 0, 6, 2, 0)
    assert len(index) == 102


def test_images_that_cannot_be_read_are_named(index, pictures):
    (pictures / "photo" / "circle" / "broken.png").write_bytes(b"no image")
    report = index.add(Catalog.open(pictures))
    assert counts(report) == (96, 0, 0, 0, 1)
    assert "broken.png" in report.skipped[0]
    assert counts(index.add(Catalog.open(pictures))) == (0, 0, 96, 0, 1)


@pytest.fixture
def listed(pictures):
    """A list of ten pictures, which names them whether they are there or not."""
    names = sorted(str(path.relative_to(pictures)) for path in (pictures / "photo").rglob("*.png"))[:10]
    (pictures / "list.csv").write_text("\n".join(["path,domain", *(f"{name},photo" for name in names)]) + "\n")
    return pictures / "list.csv", names


@pytest.mark.parametrize("remove_gone", [True, False])
def test_an_image_that_can_no_longer_be_read_is_not_found_by_what_it_was(index, encoder, listed, remove_gone):
    file, names = listed
    root = file.parent
    assert counts(index.add(Catalog.open(file))) == (10, 0, 0, 0, 0)
    (root / names[0]).write_bytes(b"broken")
    (root / names[1]).unlink()
    left = 2 if remove_gone else 1
    report = index.add(Catalog.open(file), remove_gone=remove_gone)
    assert counts(report) == (0, 0, 8, left, 2)
    broken = next(sentence for sentence in report.skipped if names[0] in sentence)
    assert "its item was deleted" in broken
    # A file that is gone follows remove_gone; one that shows something else now has no item in any case.
    assert set(state(index)) == set(names[2:] if remove_gone else names[1:])
    # The same is said again as long as it is so.
    assert counts(index.add(Catalog.open(file), remove_gone=remove_gone)) == (0, 0, 8, 0, 2)
    fresh, skipped = Index.build(Catalog.open(file), encoder, index.folder.parent / "fresh", store="exact")
    assert (len(fresh), len(skipped)) == (8, 2)
    # Once it can be read it is added again.
    shutil.copy(root / names[2], root / names[0])
    assert index.add(Catalog.open(file), remove_gone=remove_gone).added == 1
    assert np.array_equal(index.get(names[0])[1], index.get(names[2])[1])


def test_all_changed_images_unreadable(index, listed):
    file, names = listed
    index.add(Catalog.open(file))
    for name in names:
        (file.parent / name).write_bytes(b"broken")
    report = index.add(Catalog.open(file), batch=4)
    assert counts(report) == (0, 0, 0, 10, 10)
    assert len(index) == 0


def test_every_image_of_an_unreadable_domain_is_named(prompted, pictures, tmp_path):
    """An encoder with prompts embeds each domain on its own, and one of them may have nothing to embed."""
    for file in (pictures / "sketch").rglob("*.png"):
        file.write_bytes(b"broken")
    built, skipped = Index.build(Catalog.open(pictures), prompted, tmp_path / "p", device="torch-cpu")
    assert (len(built), len(skipped)) == (48, 48)


def test_a_failure_of_the_network_deletes_nothing(index, listed, monkeypatch):
    from crosslens.support.errors import FeatureError

    file, names = listed
    index.add(Catalog.open(file))
    before = state(index)
    (file.parent / names[0]).write_bytes((file.parent / names[1]).read_bytes())

    def fail(*arguments, **options):
        raise FeatureError("the backbone gave NaN")

    monkeypatch.setattr("crosslens.features.of_encoder.features_of_encoder", fail)
    report = index.add(Catalog.open(file))
    assert (report.skipped, report.removed) == (["the backbone gave NaN"], 0)
    assert state(index) == before


def test_an_interrupted_addition_goes_on(index, pictures):
    class StoppedError(Exception):
        pass

    def stop(done, total):
        if done >= 40:
            raise StoppedError

    with pytest.raises(StoppedError):
        index.add(Catalog.open(pictures), batch=20, on_progress=stop)
    assert len(Index.open(index.folder)) == 40
    assert counts(Index.open(index.folder).add(Catalog.open(pictures), batch=20)) == (56, 0, 40, 0, 0)


def test_domains_chosen_once_are_kept(encoder, pictures, tmp_path):
    catalog, root = Catalog.open(pictures), str(pictures.resolve())
    index, _ = Index.build(catalog, encoder, tmp_path / "chosen", domains=["photo"])
    assert index.domains_of(root) == ["photo"]
    shutil.copy(pictures / "photo" / "circle" / "00.png", pictures / "photo" / "circle" / "new.png")
    reopened = Index.open(tmp_path / "chosen")
    # Sketches were left out when the index was made, so they stay out.
    assert counts(reopened.add(Catalog.open(pictures))) == (1, 0, 48, 0, 0)
    assert set(reopened.stats()["domains"]) == {"photo"}
    with pytest.raises(
        CatalogError, match="no image has the domain sketches; the domains here are: photo, sketch"
    ):
        reopened.add(catalog, domains=["sketches"])
    assert counts(reopened.add(catalog, domains=["sketch"])) == (48, 0, 48, 0, 0)
    assert Index.open(tmp_path / "chosen").domains_of(root) == ["photo", "sketch"]
    # A chosen domain whose folder went away loses its items, if that is meant.
    shutil.rmtree(pictures / "sketch")
    assert counts(reopened.add(Catalog.open(pictures), force=True)) == (0, 0, 49, 48, 0)


@pytest.mark.parametrize("way", ["itself", "its copy"])
def test_domains_that_an_old_index_left_out_stay_out(encoder, pictures, tmp_path, capsys, way):
    """Format 2 did not write down which domains were chosen: then they are those that it has."""
    folder, root = tmp_path / "old", str(pictures.resolve())
    Index.build(Catalog.open(pictures), encoder, folder, domains=["photo"])
    told = json.loads((folder / "index.json").read_text())
    assert told.pop("domains") == {root: ["photo"]}
    (folder / "index.json").write_text(json.dumps(told | {"format": 2}))
    if way == "its copy":
        Index.open(folder).snapshot(tmp_path / "copy")
        folder = tmp_path / "restored"
        Index.restore(tmp_path / "copy", folder)
    shutil.copy(pictures / "photo" / "circle" / "00.png", pictures / "photo" / "circle" / "new.png")
    for expected in ((1, 0, 48, 0, 0), (0, 0, 49, 0, 0)):
        assert counts(Index.open(folder).add(Catalog.open(pictures))) == expected
        assert "sketch; name them with --domains" in capsys.readouterr().err
    assert counts(Index.open(folder).add(Catalog.open(pictures), domains=["sketch"])) == (48, 0, 49, 0, 0)
    assert Index.open(folder).domains_of(root) == ["photo", "sketch"]


def test_an_index_of_everything_stays_one(index, pictures):
    root = str(pictures.resolve())
    assert counts(index.add(Catalog.open(pictures))) == (96, 0, 0, 0, 0)
    # A part that is brought up to date leaves the rest as it is, and later additions take all again.
    assert counts(index.add(Catalog.open(pictures), domains=["photo"])) == (0, 0, 48, 0, 0)
    assert index.domains_of(root) is None
    shutil.copytree(pictures / "sketch", pictures / "painting")
    assert counts(index.add(Catalog.open(pictures))) == (48, 0, 96, 0, 0)


@pytest.mark.parametrize("way", ["build", "add"])
def test_a_file_that_changes_while_others_are_embedded_is_embedded_again(
    encoder, pictures, tmp_path, way, monkeypatch
):

    changed = pictures / "photo" / "circle" / "00.png"

    def meanwhile(catalog, encoder, **options):
        found = features_of_encoder(catalog, encoder, **options)
        shutil.copy(pictures / "photo" / "cross" / "03.png", changed)
        os.utime(changed, (2_000_000_000, 2_000_000_000))
        return found

    monkeypatch.setattr("crosslens.features.of_encoder.features_of_encoder", meanwhile)
    if way == "build":
        index, _ = Index.build(Catalog.open(pictures), encoder, tmp_path / "built")
    else:
        index = Index.create(tmp_path / "i", encoder)
        index.add(Catalog.open(pictures))
    monkeypatch.undo()
    monkeypatch.setenv("CROSSLENS_CACHE", str(tmp_path / "cache"))
    assert counts(index.add(Catalog.open(pictures))) == (0, 1, 95, 0, 0)
    own = encoder.encode_images([changed])[0]
    assert np.allclose(index.get("photo/circle/00.png")[1], own, atol=1e-2)


def test_a_writer_does_not_make_a_folder_again_that_was_moved_away(encoder, pictures, tmp_path):
    index, _ = Index.build(Catalog.open(pictures), encoder, tmp_path / "a")
    (tmp_path / "a").rename(tmp_path / "b")
    with pytest.raises(StoreError, match="not there any more"):
        index.delete(["photo/circle/00.png"])
    assert not (tmp_path / "a").exists()
