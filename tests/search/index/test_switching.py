"""A new version of an index takes the place of the old one, and goes back."""

import shutil

import pytest

from crosslens.search.index.contents import Contents
from crosslens.search.index.index import Index
from crosslens.search.index.switching import switch_indexes
from crosslens.search.index.writer_lock import hold_for_writing
from crosslens.support.errors import AnotherWriterError, ReplacedIndexError, StoreError


@pytest.fixture
def both(index, tmp_path):
    """An index of 96 pictures, and one of 93."""
    index.snapshot(tmp_path / "copy")
    beside = Index.restore(tmp_path / "copy", tmp_path / "next.index")
    shutil.rmtree(tmp_path / "copy")
    beside.delete([hit.id for hit in index.search(index.sample(1), 3)[0]])
    return index.folder, beside.folder


@pytest.mark.parametrize("at_once", [True, False])
def test_there_and_back(both, at_once, monkeypatch, capsys):
    here, beside = both
    if not at_once:
        monkeypatch.setattr("crosslens.search.index.switching._exchange_at_once", lambda one, other: False)
    before = sorted(entry.name for entry in here.parent.iterdir())
    served = Index.open(here)
    switch_indexes(here, beside)
    assert (len(Index.open(here)), len(Index.open(beside))) == (93, 96)
    with pytest.raises(ReplacedIndexError):
        served.refresh()
    switch_indexes(here, beside)
    assert (len(Index.open(here)), len(Index.open(beside))) == (96, 93)
    assert sorted(entry.name for entry in here.parent.iterdir()) == before
    assert ("missing for a moment" in capsys.readouterr().err) == (not at_once)


def test_what_cannot_be_served_takes_no_place(both, tmp_path):
    here, beside = both
    shutil.rmtree(beside / "encoder")
    with pytest.raises(Exception, match="encoder"):
        switch_indexes(here, beside)
    assert len(Index.open(here)) == 96
    for other, said in (
        (here, "one index"),
        (tmp_path / "none", "holds no index"),
        ("s3://b/i", "object storage"),
    ):
        with pytest.raises(StoreError, match=said):
            switch_indexes(here, other)


def test_a_writer_is_waited_for(both, monkeypatch):
    here, beside = both
    monkeypatch.setattr("crosslens.search.index.writer_lock.LOCK_SECONDS", 0.1)
    with hold_for_writing(beside), pytest.raises(AnotherWriterError):
        switch_indexes(here, beside)
    assert Contents.open(here).store.count() == 96
