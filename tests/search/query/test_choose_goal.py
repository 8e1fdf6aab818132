"""What a search is for: asked, the index's own, or neither where it makes no sense."""

import json

import numpy as np
import pytest

from crosslens.data.catalog import Catalog
from crosslens.encoder import Encoder
from crosslens.search.index.index import Index
from crosslens.search.query.query import QueryPart, SearchOptions
from crosslens.search.query.searcher import Searcher
from crosslens.support.errors import ConfigError
from testing.tiny_backbone import TinyBackbone

PICTURE = "sketch/cross/01.png"


def ask(index, **options):
    return Searcher(index).answer_vector(index.get(PICTURE)[1], SearchOptions(top=96, **options))


def scores_of(answer):
    return {shown.hit.id: shown.hit.score for shown in answer.hits}


def aimed(index):
    """The same index, which is asked for the thing where nothing is said."""
    file = index.folder / "index.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"goal": "thing"}))
    return Index.open(index.folder)


def test_thing_takes_each_item_s_number_and_kind_none(index):
    plain, kind, thing = ask(index), ask(index, goal="kind"), ask(index, goal="thing")
    assert scores_of(plain) == scores_of(kind)
    numbers = dict(zip(scores_of(kind), index.hub_numbers(list(scores_of(kind))), strict=True))
    expected = {image: score - numbers[image] for image, score in scores_of(kind).items()}
    assert scores_of(thing) == pytest.approx(expected, abs=1e-5)
    assert [shown.hit.id for shown in thing.hits] != [shown.hit.id for shown in kind.hits]
    assert scores_of(ask(aimed(index))) == scores_of(thing)
    assert scores_of(ask(aimed(index), goal="kind")) == scores_of(kind)


def test_a_cut_is_made_on_the_corrected_score(index):
    everything = scores_of(ask(index, goal="thing"))
    cut = float(np.median(list(everything.values())))
    kept = scores_of(ask(index, goal="thing", min_score=cut))
    assert kept.keys() == {image for image, score in everything.items() if score >= cut - 1e-6}


def test_a_re_ranker_of_kinds_contradicts_thing(index):
    with pytest.raises(ConfigError, match="leave one of the two out"):
        ask(index, goal="thing", rerank="aqe")
    assert ask(index, goal="thing", rerank="mmr").hits
    told = ask(aimed(index), rerank="aqe")
    assert told.notes == ("asked for kind, as aqe does",)
    assert scores_of(told) == scores_of(ask(index, rerank="aqe"))


def test_an_index_that_cannot_is_asked_for_kind_where_nobody_insists(pictures, tmp_path):
    photos = Catalog.open(pictures).select(domains=["photo"])
    index = aimed(Index.build(photos, Encoder(TinyBackbone()), tmp_path / "i", store="exact")[0])
    vector = index.vectors[0]
    answer = Searcher(index).answer_vector(vector)
    assert "asked for kind" in answer.notes[0]
    with pytest.raises(ConfigError, match="nothing to learn hubs from"):
        Searcher(index).answer_vector(vector, SearchOptions(goal="thing"))


def test_words_ask_for_kind(index, monkeypatch):
    searcher = Searcher(aimed(index))
    vector = index.get(PICTURE)[1]
    monkeypatch.setattr(searcher._embedding, "texts", lambda texts: vector[None])
    monkeypatch.setattr(searcher._embedding, "text_notes", lambda texts: ())
    words = searcher.answer([QueryPart("text", "a cross")], SearchOptions(top=96))
    assert "words name a kind" in words.notes[0]
    assert scores_of(words) == scores_of(ask(index, goal="kind"))
    both = searcher.answer([QueryPart("text", "a cross"), QueryPart("vector", vector)], SearchOptions(top=96))
    assert scores_of(both) == pytest.approx(scores_of(ask(index, goal="thing")), abs=1e-5)


@pytest.mark.parametrize("queries", [False, True])
def test_the_probability_of_a_match_rests_on_the_corrected_scores(index, pictures, queries):
    if queries:
        index.keep_queries(Catalog.open(pictures).select(domains=["sketch"]))
    vector = index.get("photo/circle/00.png")[1]
    searcher = Searcher(index)
    found = {
        goal: searcher.match_estimator.probability(vector, exclude=["photo/circle/00.png"], goal=goal)
        for goal in ("thing", "kind")
    }
    assert all(0 < probability < 1 for probability in found.values())
    made = searcher.match_estimator._made[False, "thing"].calibration
    ids = searcher.match_estimator._made[False, "thing"].items.column("id").to_pylist()
    np.testing.assert_allclose(made.numbers, index.hub_numbers(ids), atol=1e-7)
    assert searcher.match_estimator._made[False, "kind"].calibration.numbers is None
    # Kept on disk, and read from there.
    again = Searcher(Index.open(index.folder)).match_estimator
    for goal, probability in found.items():
        told = again.probability(vector, exclude=["photo/circle/00.png"], goal=goal)
        assert told == pytest.approx(probability, abs=1e-5)
    assert {file.name for file in (index.folder / "calibration").iterdir()} >= {
        "vectors.safetensors",
        "vectors-thing.safetensors",
    }


def test_the_calibration_takes_numbers_as_the_slow_formula_does(index):
    searcher = Searcher(index)
    vector = index.get("sketch/cross/01.png")[1]
    searcher.match_estimator.probability(vector, goal="thing")
    made = searcher.match_estimator._made[False, "thing"].calibration
    best = max(float(row @ vector) - number for row, number in zip(made.gallery, made.numbers, strict=True))
    expected = float(made.curve(np.array([best], np.float32))[0])
    assert searcher.match_estimator.probability(vector, goal="thing") == pytest.approx(expected, abs=1e-5)
    hits = index.search(vector[None], 96, goal="thing")[0]
    fast = searcher.match_estimator.probability(vector, nearest=hits, goal="thing")
    assert fast == pytest.approx(expected, abs=1e-5)
