"""What leaves an index because its picture is gone: names decide, and a folder that is away empties nothing."""

import os
import shutil

import numpy as np
import pytest

from crosslens.data.catalog import Catalog
from crosslens.encoder import Encoder
from crosslens.search.index.index import Index
from crosslens.support import presence
from crosslens.support.errors import StoreError
from testing.stores import needs_milvus
from testing.tiny_backbone import TinyBackbone
from testing.tiny_pictures import make_pictures

STORES = ["lance", "exact", pytest.param("milvus", marks=needs_milvus)]


@pytest.fixture
def encoder(tiny_world):
    return Encoder(TinyBackbone())


@pytest.fixture
def root(tmp_path):
    """Three photos and three sketches of each shape."""
    return make_pictures(tmp_path / "pictures", count=3)


@pytest.fixture
def index(encoder, root, tmp_path):
    return Index.build(Catalog.open(root), encoder, tmp_path / "i", store="exact")[0]


def counts(report):
    return report.added, report.changed, report.unchanged, report.removed, len(report.skipped)


def ids(index):
    return set(index.items.column("id").to_pylist())


@pytest.mark.parametrize("kind", STORES)
@pytest.mark.parametrize("way", ["build", "add"])
def test_a_removed_link_takes_its_item_along(encoder, root, tmp_path, kind, way):
    elsewhere = tmp_path / "annex" / "4711.png"
    elsewhere.parent.mkdir()
    shutil.copy(root / "photo" / "cross" / "00.png", elsewhere)
    link = root / "photo" / "cross" / "link.png"
    link.symlink_to(elsewhere)
    address = f"milvus:{tmp_path / 'items.db'}" if kind == "milvus" else kind
    if way == "build":
        index, _ = Index.build(Catalog.open(root), encoder, tmp_path / "i", store=address)
    else:
        index = Index.create(tmp_path / "i", encoder, store=address)
        index.add(Catalog.open(root))
    hit = index.get("photo/cross/link.png")[0]
    assert hit.path == str(root.resolve() / "photo" / "cross" / "link.png")
    assert counts(index.add(Catalog.open(root))) == (0, 0, 25, 0, 0)
    link.unlink()
    assert counts(index.add(Catalog.open(root))) == (0, 0, 24, 1, 0)
    assert len(index) == 24
    assert "photo/cross/link.png" not in ids(index)
    index.close()


def test_a_link_whose_target_is_gone_or_that_leads_elsewhere_now(index, encoder, root, tmp_path):
    links = [root / "photo" / "circle" / f"link{number}.png" for number in range(3)]
    kept = tmp_path / "kept.png"
    shutil.copy(root / "photo" / "square" / "00.png", kept)
    for link in links:
        link.symlink_to(kept)
    assert index.add(Catalog.open(root)).added == 3
    links[0].unlink()
    links[0].symlink_to(tmp_path / "nowhere.png")
    links[1].unlink()
    links[1].symlink_to(links[1])
    links[2].unlink()
    links[2].symlink_to(root / "sketch" / "cross" / "02.png")
    assert counts(index.add(Catalog.open(root))) == (0, 1, 24, 2, 0)
    moved = index.get("photo/circle/link2.png")[1]
    assert np.allclose(moved, encoder.encode_images([links[2]])[0], atol=1e-2)


def test_one_picture_by_two_links_is_two_items(index, root):
    for name in ("a.png", "b.png"):
        (root / "photo" / "circle" / name).symlink_to(root / "photo" / "circle" / "00.png")
    assert index.add(Catalog.open(root)).added == 2
    (root / "photo" / "circle" / "a.png").unlink()
    assert counts(index.add(Catalog.open(root))) == (0, 0, 25, 1, 0)
    assert "photo/circle/b.png" in ids(index)


@pytest.mark.parametrize("what", ["domain", "class"])
def test_a_folder_that_was_renamed_is_not_lost(index, root, what):
    before = {"domain": root / "photo", "class": root / "photo" / "circle"}[what]
    before.rename(before.with_name(before.name.capitalize()))
    changed = 12 if what == "domain" else 3
    assert counts(index.add(Catalog.open(root))) == (changed, 0, 24 - changed, changed, 0)
    assert len(index) == 24


@pytest.mark.parametrize("how", ["missing", "empty", "link to a disk that is not there"])
def test_a_domain_that_is_away_empties_nothing_unless_it_is_meant(index, root, how):
    before = ids(index)
    shutil.rmtree(root / "sketch")
    if how == "empty":
        (root / "sketch").mkdir()
    elif how != "missing":
        (root / "sketch").symlink_to(root / "not-mounted")
    shutil.copy(root / "photo" / "circle" / "00.png", root / "photo" / "circle" / "new.png")
    with pytest.raises(StoreError, match=r"12 of the 12 items of 'sketch' are gone.*--force.*--keep-gone"):
        index.add(Catalog.open(root))
    assert ids(index) == before
    assert counts(index.add(Catalog.open(root), remove_gone=False)) == (1, 0, 12, 0, 0)
    assert ids(index) == before | {"photo/circle/new.png"}
    assert counts(index.add(Catalog.open(root), force=True)) == (0, 0, 13, 12, 0)


def test_the_share_is_that_of_a_domain(index, root):
    files = sorted((root / "sketch").rglob("*.png"))
    for file in files[:6]:
        file.unlink()
    assert counts(index.add(Catalog.open(root))) == (0, 0, 18, 6, 0)
    for file in files[6:10]:
        file.unlink()
    with pytest.raises(StoreError, match="4 of the 6 items of 'sketch'"):
        index.add(Catalog.open(root))


def test_a_single_picture_may_always_go(encoder, tmp_path):
    root = make_pictures(tmp_path / "few", count=1, shapes=("circle",))
    index, _ = Index.build(Catalog.open(root), encoder, tmp_path / "i", store="exact")
    shutil.rmtree(root / "sketch")
    assert counts(index.add(Catalog.open(root))) == (0, 0, 1, 1, 0)


def test_a_list_whose_pictures_are_away_empties_nothing_either(encoder, root, tmp_path):
    names = sorted(str(path.relative_to(root)) for path in root.rglob("*.png"))
    lines = ["path,domain", *(f"{name},{name.split('/')[0]}" for name in names)]
    (root / "list.csv").write_text("\n".join(lines) + "\n")
    index, _ = Index.build(Catalog.open(root / "list.csv"), encoder, tmp_path / "i", store="exact")
    shutil.rmtree(root / "photo")
    with pytest.raises(StoreError, match="12 of the 12 items of 'photo'"):
        index.add(Catalog.open(root / "list.csv"))
    assert len(index) == 24
    assert index.add(Catalog.open(root / "list.csv"), force=True).removed == 12


def test_pictures_that_cannot_be_looked_at_stay(index, root, monkeypatch):
    """A folder without rights, or a network disk that does not answer, says nothing of its pictures."""
    catalog = Catalog.open(root)
    photos = catalog.select(domains=["photo"])
    stat = os.stat

    def refused(path, *arguments, **options):
        if "sketch" in str(path):
            raise PermissionError(13, "Permission denied")
        return stat(path, *arguments, **options)

    monkeypatch.setattr(presence.os, "stat", refused)
    assert counts(index.add(photos)) == (0, 0, 12, 0, 0)
    assert len(index) == 24


def test_a_picture_without_rights_keeps_its_item(index, root, monkeypatch):
    from crosslens.search.index import adding

    file = root / "photo" / "circle" / "00.png"
    file.write_bytes(b"as if it could not be read")
    monkeypatch.setattr(adding, "can_be_read", lambda path: False)
    assert counts(index.add(Catalog.open(root))) == (0, 0, 23, 0, 1)
    assert len(index) == 24
    monkeypatch.undo()
    assert counts(index.add(Catalog.open(root)))[3:] == (1, 1)


def test_a_folder_in_a_pictures_place(index, root):
    file = root / "photo" / "circle" / "00.png"
    file.unlink()
    file.mkdir()
    shutil.copy(root / "photo" / "circle" / "01.png", file / "inner.png")
    report = index.add(Catalog.open(root))
    assert (report.added, report.removed) == (1, 1)
    assert "photo/circle/00.png" not in ids(index)


@pytest.mark.parametrize("name", ["pictures/", "pictures/../pictures", "link", "photo/.."])
def test_a_root_by_another_name_is_the_same_root(index, root, tmp_path, monkeypatch, name):
    (tmp_path / "link").symlink_to(root)
    monkeypatch.chdir(root if name.startswith("photo") else tmp_path)
    assert counts(index.add(Catalog.open(name))) == (0, 0, 24, 0, 0)
    assert index.roots == [root.resolve()]


def test_an_id_that_is_spelt_otherwise_replaces_its_item(index, root):
    """One file is one item, also where a later version or another list names it by another id."""
    catalog = Catalog.open(root)
    rows = [
        {"id": f"n{number}", "path": path, "domain": domain}
        for number, (path, domain) in enumerate(zip(catalog.column("path"), catalog.column("domain"), strict=True))
    ]
    assert counts(index.add(Catalog.from_rows(rows, root))) == (24, 0, 0, 24, 0)
    assert ids(index) == {f"n{number}" for number in range(24)}
