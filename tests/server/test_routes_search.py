"""Searching over HTTP: uploads, words, items and mixes."""

import json

import numpy as np
import pytest

from crosslens.search.index.index import Index
from testing.servers import is_problem, plain


@pytest.fixture
def index(built_index):
    return Index.open(built_index)


def content(index, image):
    return open(index.get(image)[0].path, "rb").read()


def test_collections(served, index):
    (one,) = served.client.get("/api/v1/collections").json()
    assert one["name"] == "pictures.index"
    assert one["items"] == 32
    assert one["domains"] == {"photo": 16, "sketch": 16}
    assert one["labels"] == 4
    assert one["folders"][:2] == ["photo", "photo/circle"]
    assert one["fingerprint"] == index.fingerprint.digest
    assert one["text"] is True
    assert one["dim"] == 64


def test_an_upload_finds_what_the_index_finds(served, index):
    answer = served.search({"parts": [{"image": 0}], "top": 5}, content(index, "photo/circle/01.png")).json()
    vector = index.encoder.encode_images([content(index, "photo/circle/01.png")])
    expected = index.search(vector, 5)[0]
    assert [hit["id"] for hit in answer["hits"]] == [hit.id for hit in expected]
    assert np.allclose([hit["score"] for hit in answer["hits"]], [hit.score for hit in expected], atol=1e-4)
    first = answer["hits"][0]
    assert first["id"] == "photo/circle/01.png"
    assert first["folder"] == "photo/circle"
    assert first["label"] == "circle"
    assert answer["items"] == 32
    assert {"read", "decode", "queue", "embed"} <= set(answer["seconds"])
    assert served.client.get(first["image"]).content == content(index, "photo/circle/01.png")


def test_words_items_and_mixes_with_weights(served, index):
    picture = content(index, "sketch/cross/00.png")
    parts = [
        {"image": 0, "weight": 1},
        {"text": "a circle", "weight": 0.5},
        {"like": "photo/square/02.png", "weight": -0.3},
    ]
    answer = served.search({"parts": parts, "top": 8}, picture).json()
    rows = [
        index.encoder.encode_images([picture])[0],
        index.encoder.encode_texts(["a circle"])[0],
        index.get("photo/square/02.png")[1],
    ]
    mixed = rows[0] + 0.5 * rows[1] - 0.3 * rows[2]
    expected = index.search((mixed / np.linalg.norm(mixed))[None], 9)[0]
    wanted = [hit.id for hit in expected if hit.id != "photo/square/02.png"][:8]
    assert [hit["id"] for hit in answer["hits"]] == wanted


def test_an_item_does_not_find_itself(served):
    answer = served.ask({"parts": [{"like": "photo/circle/00.png"}], "top": 32}).json()
    assert len(answer["hits"]) == 31
    assert "photo/circle/00.png" not in {hit["id"] for hit in answer["hits"]}


def test_options(served):
    where = {"op": "and", "filters": [
        {"op": "eq", "field": "domain", "value": "sketch"},
        {"op": "not", "filter": {"op": "prefix", "field": "id", "value": "sketch/circle/"}},
    ]}  # fmt: skip
    query = {"parts": [{"text": "circle"}], "top": 50, "where": where, "sort": "-id"}
    ids = [hit["id"] for hit in served.ask(query).json()["hits"]]
    assert len(ids) == 12
    assert ids == sorted(ids, reverse=True)
    scores = [hit["score"] for hit in served.ask(query | {"min_score": 0.1, "sort": "score"}).json()["hits"]]
    assert scores == sorted(scores, reverse=True)
    assert all(score >= 0.1 for score in scores)


def test_many_uploads_in_one_query(served, index):
    names = [f"photo/{shape}/00.png" for shape in ("circle", "cross", "square")]
    parts = [{"image": 2, "weight": 0.2}, {"image": 0, "weight": 3}, {"image": 1, "weight": 0.1}]
    answer = served.search({"parts": parts, "top": 1}, *(content(index, name) for name in names)).json()
    assert answer["hits"][0]["id"] == "photo/circle/00.png"


@pytest.mark.parametrize(
    ("query", "status", "word"),
    [
        ({"parts": []}, 422, "parts"),
        ({}, 422, "parts"),
        ({"parts": [{"text": "x"}], "top": 0}, 422, "top"),
        ({"parts": [{"text": "x"}], "top": 1001}, 422, "top"),
        ({"parts": [{"text": "x"}], "min_score": 2}, 422, "min_score"),
        ({"parts": [{"text": "x"}], "colour": "red"}, 422, "colour"),
        ({"parts": [{"text": ""}]}, 422, "text"),
        ({"parts": [{"text": "x" * 2001}]}, 422, "text"),
        ({"parts": [{"text": "x", "weight": 1000}]}, 422, "weight"),
        ({"parts": [{"text": "x"}], "sort": "colour"}, 422, "sort"),
        ({"parts": [{"text": "x"}], "where": {"op": "eq", "field": "colour", "value": "x"}}, 422, "where"),
        ({"parts": [{"text": "x"}], "where": {"op": "eq", "field": "path", "value": "/etc"}}, 422, "path"),
        ({"parts": [{"text": "x"}], "where": {"op": "eq", "field": "size", "value": "big"}}, 422, "where"),
        ({"parts": [{"image": 0}]}, 422, "images"),
        ({"parts": [{"like": "no/such.png"}]}, 422, "no/such.png"),
        ({"parts": [{"text": "a"}, {"text": "a", "weight": -1}]}, 422, "cancel"),
        ({"parts": [{"text": "x"}] * 33}, 422, "parts"),
    ],
)
def test_values_that_are_not_allowed(served, query, status, word):
    document = is_problem(served.ask(query), status)
    assert word in json.dumps(document)
    assert "/tmp" not in json.dumps(document)


def test_images_must_be_named_once_each(served):
    is_problem(served.search({"parts": [{"text": "x"}]}, plain()), 422)
    is_problem(served.search({"parts": [{"image": 0}, {"image": 0}]}, plain()), 422)
    is_problem(served.search({"parts": [{"image": 1}]}, plain()), 422)
    nine = [plain((n, n, n)) for n in range(9)]
    is_problem(served.search({"parts": [{"image": n} for n in range(9)]}, *nine), 413)


def test_text_is_refused_where_the_encoder_does_not_read(own_index):
    from testing.servers import running

    with running(own_index) as server:
        document = is_problem(server.ask({"parts": [{"text": "circle"}]}, name="own.index"), 422)
        assert "text" in document["detail"]
        assert server.client.get("/api/v1/collections").json()[0]["text"] is False


def test_two_collections_side_by_side(built_index, own_index):
    from testing.servers import running

    with running(built_index, own_index) as server:
        names = [one["name"] for one in server.client.get("/api/v1/collections").json()]
        assert names == ["pictures.index", "own.index"]
        for name in names:
            found = server.search({"parts": [{"image": 0}], "top": 3}, plain(), name=name).json()
            assert len(found["hits"]) == 3
            assert all(f"/collections/{name}/" in hit["thumbnail"] for hit in found["hits"])


def test_unknown_places_and_methods(served):
    is_problem(served.ask({"parts": [{"text": "x"}]}, name="nothing"), 404)
    is_problem(served.client.get("/api/v1/nothing"), 404)
    is_problem(served.client.get("/api/v1/jobs/nothing"), 404)
    place, near = "/api/v1/collections/pictures.index", {"id": "photo/cirle/00.png"}
    is_problem(served.client.get(f"{place}/item", params={"id": "nothing"}), 404)
    told = is_problem(served.client.get(f"{place}/item", params=near), 404)["detail"]
    assert "did you mean" in told
    assert "'photo/circle/00.png'" in told
    # The pictures of many items may be asked for at once.
    assert "did you mean" not in is_problem(served.client.get(f"{place}/image", params=near), 404)["detail"]
    is_problem(served.client.put("/api/v1/collections"), 405)
    is_problem(served.client.get("/api/v1/collections/pictures.index/search"), 405)


def test_an_item(served):
    item = served.client.get(
        "/api/v1/collections/pictures.index/item", params={"id": "photo/circle/00.png"}
    ).json()
    assert item["domain"] == "photo"
    assert item["size"] > 0
    assert "path" not in item
    assert "root" not in item
