"""Unlabelled queries that an index keeps, and calibrations that stay on disk."""

import shutil

import pytest

from crosslens.data.catalog import Catalog
from crosslens.search.index.index import Index
from crosslens.search.index.kept_queries import QUERIES, read_queries
from crosslens.search.query import match_estimator as module
from crosslens.search.query.calibrated import FOLDER
from crosslens.search.query.match_estimator import MatchEstimator
from crosslens.search.query.query import QueryPart, SearchOptions
from crosslens.search.query.searcher import Searcher
from crosslens.support.errors import ConfigError, StoreError

OWN = "photo/circle/00.png"


@pytest.fixture
def sketches(pictures):
    return Catalog.open(pictures).select(domains=["sketch"])


@pytest.fixture
def never_fit(monkeypatch):
    """From here on nothing may be calibrated anew."""

    def refuse(*_, **__):
        raise AssertionError("calibrated again")

    def start():
        monkeypatch.setattr(module.MatchCalibration, "fit", refuse)

    return start


def ask(index, picture, **options):
    searcher = Searcher(index)
    return searcher.answer([QueryPart("image", picture)], SearchOptions(min_match=0.0, **options))


def test_kept_queries_serve_as_those_that_are_given(index, sketches, pictures):
    picture = pictures / "sketch" / "cross" / "01.png"
    given = Searcher(index, unlabelled=sketches).answer(
        [QueryPart("image", picture)], SearchOptions(min_match=0.0)
    )
    rough = ask(index, picture)
    assert rough.match_is_rough
    assert not given.match_is_rough
    assert index.keep_queries(sketches) == len(sketches)
    kept = ask(Index.open(index.folder), picture)
    assert kept.match_probability == pytest.approx(given.match_probability, abs=1e-5)
    assert not kept.match_is_rough
    shutil.rmtree(pictures / "sketch")
    words = Searcher(index).match_estimator.probability(index.get(OWN)[1])
    assert 0 < words < 1


def test_a_calibration_is_made_once_for_a_version_whoever_asks(index, sketches, pictures, never_fit):
    index.keep_queries(sketches)
    picture = pictures / "sketch" / "cross" / "01.png"
    first = ask(index, picture), MatchEstimator(index).probability(index.get(OWN)[1])
    never_fit()
    again = Index.open(index.folder)
    assert ask(again, picture).match_probability == pytest.approx(first[0].match_probability, abs=1e-5)
    assert MatchEstimator(again).probability(again.get(OWN)[1]) == pytest.approx(first[1], abs=1e-5)
    again.delete(["sketch/cross/00.png"])
    with pytest.raises(AssertionError, match="again"):
        ask(again, picture)


def test_other_queries_a_damaged_file_and_another_sample_are_calibrated_anew(index, sketches, monkeypatch):
    index.keep_queries(sketches)
    made = []
    real = module.write_calibrated
    monkeypatch.setattr(module, "write_calibrated", lambda *a, **k: made.append(1) or real(*a, **k))
    vector = index.get(OWN)[1]
    MatchEstimator(index).probability(vector)
    index.keep_queries(sketches.take(list(range(20))))
    MatchEstimator(index).probability(vector)
    MatchEstimator(index, sample=50).probability(vector)
    for file in (index.folder / FOLDER).iterdir():
        file.write_bytes(b"no tensors")
    MatchEstimator(index, sample=50).probability(vector)
    MatchEstimator(index, sample=50).probability(vector)
    assert len(made) == 4


def test_an_index_that_cannot_be_written_is_calibrated_all_the_same(index):
    (index.folder / FOLDER).write_text("in the way")
    assert 0 < MatchEstimator(index).probability(index.get(OWN)[1]) < 1


def test_too_few_and_damaged_queries_are_said(index, sketches):
    with pytest.raises(ConfigError, match="at least 10"):
        index.keep_queries(sketches.take([0, 1]))
    assert read_queries(index.folder, index.fingerprint) is None
    (index.folder / QUERIES).write_bytes(b"no tensors")
    with pytest.raises(StoreError, match="give the queries again"):
        read_queries(index.folder, index.fingerprint)


def test_a_snapshot_keeps_them(index, sketches, tmp_path):
    index.keep_queries(sketches)
    index.snapshot(tmp_path / "copy")
    back = Index.restore(tmp_path / "copy", tmp_path / "back")
    kept = read_queries(back.folder, back.fingerprint)
    assert kept is not None
    assert len(kept.features) == len(sketches)


def test_an_item_asks_in_its_own_look(index):
    answer = Searcher(index).answer([QueryPart("like", OWN)], SearchOptions(min_match=0.0))
    assert not answer.match_is_rough
