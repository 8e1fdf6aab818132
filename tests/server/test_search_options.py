"""Each option of a search over HTTP does what it does for the searcher of the Python API."""

from pathlib import Path

import numpy as np
import pytest

from crosslens.images.region import Region
from crosslens.search.filters.conditions import Eq
from crosslens.search.index.index import Index
from crosslens.search.query.query import QueryPart, SearchOptions
from crosslens.search.query.searcher import Searcher

IMAGE = "sketch/cross/01.png"
LIKE = "photo/square/02.png"
SKETCHES = {"op": "eq", "field": "domain", "value": "sketch"}


@pytest.fixture(scope="module")
def searcher(centred_index):
    made = Searcher(Index.open(centred_index))
    # As the server does before it answers with probabilities.
    for goal in made.index.goals:
        made.match_estimator.probability(made.index.get(IMAGE)[1], goal=goal)
    return made


@pytest.fixture
def picture(searcher):
    return Path(searcher.index.get(IMAGE)[0].path).read_bytes()


@pytest.fixture(autouse=True)
def calibrated(centred):
    centred.service.collections["centred.index"].prepare()


def told(answer):
    """What of the searcher's answer goes over the wire, scores apart."""
    hits = [(found.hit.id, list(found.duplicates)) for found in answer.hits]
    return hits, answer.no_match, answer.domain


@pytest.mark.parametrize(
    "options",
    [
        {"top": 3},
        {"min_score": 0.3},
        {"min_match": 1.0},
        {"where": SKETCHES},
        {"sort": "-id"},
        {"fold": 0.7},
        {"goal": "thing"},
        {"rerank": "aqe"},
        {"rerank": "dba"},
        {"rerank": "k-reciprocal"},
        {"rerank": "diffusion"},
        {"rerank": "mmr"},
        {"include_self": True},
        {"liked": ["sketch/square/00.png", "sketch/square/01.png"]},
        {"disliked": ["photo/square/01.png"]},
        {"domain": "sketch"},
        {"domain": "photo"},
        {"domain": "auto"},
    ],
    ids=lambda options: "-".join(f"{name}={value}" for name, value in options.items())[:20],
)
def test_an_option_does_what_it_does_for_the_searcher(centred, searcher, picture, options):
    parts = [QueryPart("image", picture), QueryPart("like", LIKE, 0.5)]
    chosen = {name: value for name, value in options.items() if name != "domain"}
    if "where" in chosen:
        chosen["where"] = Eq(field="domain", value="sketch")
    expected = searcher.answer(parts, SearchOptions(**{"top": 12} | chosen), options.get("domain"))
    # An option that changed nothing here would not be seen to be lost.
    assert told(expected) != told(searcher.answer(parts, SearchOptions(top=12)))

    query = {"parts": [{"image": 0}, {"like": LIKE, "weight": 0.5}], "top": 12} | options
    answer = centred.search(query, picture, name="centred.index").json()
    hits = [(hit["id"], hit["duplicates"]) for hit in answer["hits"]]
    assert (hits, answer["no_match"], answer["domain"]) == told(expected)
    scores = [found.hit.score for found in expected.hits]
    assert np.allclose([hit["score"] for hit in answer["hits"]], scores, atol=1e-4)
    assert answer["match_probability"] == pytest.approx(expected.match_probability, abs=1e-3)


def test_a_region_of_an_upload_is_searched_with(centred, searcher, picture):
    region = (0.1, 0.0, 0.5, 0.6)
    expected = searcher.answer([QueryPart("image", picture, region=Region(*region))], SearchOptions(top=12))
    assert told(expected) != told(searcher.answer([QueryPart("image", picture)], SearchOptions(top=12)))
    asked = {"parts": [{"image": 0, "region": region}], "top": 12}
    answer = centred.search(asked, picture, name="centred.index").json()
    assert [hit["id"] for hit in answer["hits"]] == [found.hit.id for found in expected.hits]
    scores = [found.hit.score for found in expected.hits]
    assert np.allclose([hit["score"] for hit in answer["hits"]], scores, atol=1e-4)


@pytest.mark.parametrize("region", [[0, 0, 0, 1], [0.5, 0, 0.6, 1], [0, 0, 1], [0, 0, 2, 1], "all"])
def test_a_region_that_is_none_is_refused(centred, picture, region):
    query = {"parts": [{"image": 0, "region": region}]}
    answer = centred.search(query, picture, name="centred.index")
    assert answer.status_code == 422
    assert "region" in answer.text


def test_a_goal_that_a_re_ranker_contradicts_is_refused(centred):
    facts = centred.service.collections["centred.index"].info()
    assert (facts.goal, facts.goals) == ("kind", ["thing", "kind"])
    for wrong, told in (({"goal": "thing", "rerank": "aqe"}, "leave one of the two out"), ({"goal": "x"}, "goal")):
        query = {"parts": [{"like": LIKE}]} | wrong
        answer = centred.client.post("/api/v1/collections/centred.index/search", json=query)
        assert answer.status_code == 422
        assert told in answer.text


@pytest.mark.parametrize("field", ["liked", "disliked"])
def test_feedback_on_an_unknown_item_is_refused(centred, field):
    for wrong, near in (("nothere.png", ""), (LIKE + "?", f"; did you mean '{LIKE}' or"), ("x" * 5000, "")):
        query = {"parts": [{"like": LIKE}], field: [wrong]}
        answer = centred.client.post("/api/v1/collections/centred.index/search", json=query)
        assert answer.status_code == 422
        told = answer.json()["detail"]
        assert told.startswith(f"there is no item '{wrong[:200]}' in centred.index{near}")
        assert ("did you mean" in told) == bool(near)


def test_the_domains_that_the_encoder_knows_are_listed(centred, served, searcher, picture):
    (one,) = centred.client.get("/api/v1/collections").json()
    assert one["encoder_domains"] == ["photo", "sketch"]
    # Those alone make a difference as the domain of a query.
    query = {"parts": [{"image": 0}], "top": 1, "where": {"op": "eq", "field": "id", "value": LIKE}}
    scores = {}
    for name in (None, *one["encoder_domains"], "painting"):
        asked = query if name is None else query | {"domain": name}
        scores[name] = centred.search(asked, picture, name="centred.index").json()["hits"][0]["score"]
    assert len({round(score, 4) for score in scores.values()}) == 3
    assert scores["painting"] == pytest.approx(scores[None], abs=1e-6)
    # An encoder that treats all alike knows none, whatever the items are.
    (other,) = served.client.get("/api/v1/collections").json()
    assert other["encoder_domains"] == []
    assert other["domains"] == {"photo": 16, "sketch": 16}
    described = served.client.get("/openapi.json").json()["components"]["schemas"]["CollectionInfo"]
    assert described["properties"]["encoder_domains"]["items"] == {"type": "string"}
    assert "encoder_domains" in described["required"]
