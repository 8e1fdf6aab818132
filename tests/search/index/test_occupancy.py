"""An index whose folder comes to hold another index, or none."""

import shutil

import pytest

from crosslens.data.catalog import Catalog
from crosslens.encoder import Encoder
from crosslens.encoder.parts import Heads
from crosslens.nn.heads import Head
from crosslens.search.index import occupancy
from crosslens.search.index.index import Index
from crosslens.search.index.writer_lock import hold_for_writing, is_being_written
from crosslens.support.errors import AnotherWriterError, ReplacedIndexError, StoreError
from testing.tiny_backbone import TinyBackbone


@pytest.fixture(params=["lance", "exact"])
def kind(request):
    return request.param


def build(pictures, folder, encoder, kind):
    return Index.build(Catalog.open(pictures), encoder, folder, store=kind)[0]


@pytest.mark.parametrize("dim", [64, 16])
def test_another_index_in_the_folder_is_noticed(pictures, tmp_path, kind, dim):
    place = tmp_path / "i"
    held = build(pictures, place, Encoder(TinyBackbone()), kind)
    place.rename(tmp_path / "before")
    other = Encoder(TinyBackbone(seed=1)) if dim == 64 else Encoder(TinyBackbone(), [Heads([Head((64, dim))])])
    new = build(pictures, place, other, kind)
    # Nothing else tells them apart.
    assert new.version == held.version
    for attempt in (held.refresh, lambda: held.delete(["photo/circle/00.png"]), lambda: held.add_root("/x")):
        with pytest.raises(ReplacedIndexError, match="holds another index now; open it again"):
            attempt()
    assert len(Index.open(place)) == 96
    new.delete(["photo/circle/00.png"])
    with pytest.raises(ReplacedIndexError):
        held.refresh()
    # What was read before is whole and its own.
    vector = held.get("photo/circle/01.png")[1]
    assert vector.shape == (64,)
    assert held.search(vector[None], 1)[0][0].score == pytest.approx(1, abs=1e-3)


def test_the_same_encoder_is_not_the_same_index(pictures, tmp_path, kind):
    held = build(pictures, tmp_path / "i", Encoder(TinyBackbone()), kind)
    shutil.rmtree(tmp_path / "i")
    build(pictures, tmp_path / "i", Encoder(TinyBackbone()), kind)
    with pytest.raises(ReplacedIndexError):
        held.refresh()


def test_a_folder_that_is_gone_and_comes_back(pictures, tmp_path, kind):
    place = tmp_path / "i"
    held = build(pictures, place, Encoder(TinyBackbone()), kind)
    place.rename(tmp_path / "elsewhere")
    with pytest.raises(StoreError, match="holds no index any more"):
        held.refresh()
    Index.open(tmp_path / "elsewhere").delete(["photo/circle/00.png"])
    (tmp_path / "elsewhere").rename(place)
    assert held.refresh()
    assert len(held) == 95


def test_index_json_is_read_only_after_it_changed(pictures, tmp_path, kind, monkeypatch):
    held = build(pictures, tmp_path / "i", Encoder(TinyBackbone()), kind)
    held.refresh()
    reads = []
    real = occupancy.read_description
    monkeypatch.setattr(occupancy, "read_description", lambda folder: reads.append(folder) or real(folder))
    other = Index.open(tmp_path / "i")
    other.delete(["photo/circle/00.png"])
    reads.clear()
    assert held.refresh()
    assert not held.refresh()
    assert reads == []
    # A folder that another process added is known without a change of the items.
    other.add_root("/more")
    reads.clear()
    held.refresh()
    assert [str(root) for root in held.roots][-1] == "/more"
    assert len(reads) == 1


def test_who_writes_is_told_from_what_is_broken(pictures, tmp_path, kind, monkeypatch):
    held = build(pictures, tmp_path / "i", Encoder(TinyBackbone()), kind)
    monkeypatch.setattr("crosslens.search.index.writer_lock.LOCK_SECONDS", 0.1)
    assert not is_being_written(held.folder)
    with hold_for_writing(held.folder):
        assert is_being_written(held.folder)
        with pytest.raises(AnotherWriterError):
            held.delete(["photo/circle/00.png"])
    assert not is_being_written(held.folder)
    assert held.delete(["photo/circle/00.png"]) == 1
