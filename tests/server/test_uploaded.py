"""Ids, classes and columns that come with uploads: kept from the form to the hits, or refused."""

import json

import pytest

from crosslens.search.index.index import Index
from crosslens.server.uploaded import Addition
from testing.servers import is_problem, plain, running

PLACE = "/api/v1/collections/own.index"


@pytest.fixture
def server(own_index):
    with running(own_index) as started:
        yield started


def post(server, pictures, items=None, **fields):
    data = {"domain": "photo", **fields} | ({} if items is None else {"items": json.dumps(items)})
    files = [("images", (name, content)) for name, content in pictures]
    return server.client.post(f"{PLACE}/items", data=data, files=files)


def item(server, image):
    return server.client.get(f"{PLACE}/item", params={"id": image})


def pictures(*names):
    return [(name, plain((40 * number, 200, 9))) for number, name in enumerate(names)]


def test_ids_names_and_columns_come_back_with_the_hits(server, own_index):
    items = [{"id": "sku-9", "label": "shoe", "columns": {"price": 19.5, "tags": ["red"], "new": True}}, {}]
    answer = post(server, pictures("C:\\shop\\red.png", "b.png"), items, label="other")
    assert answer.status_code == 202, answer.text
    told = answer.json()["images"]
    assert (told[0]["id"], told[1]["filename"]) == ("sku-9", "b.png")
    result = server.ended(answer)["result"]
    assert result["ids"] == [image["id"] for image in told]
    shoe = item(server, "sku-9").json()
    assert (shoe["label"], item(server, told[1]["id"]).json()["label"]) == ("shoe", "other")
    assert shoe["columns"] == {
        "filename": "red.png", "price": 19.5, "tags": ["red"], "new": True, "orientation": "square"
    }  # fmt: skip
    query = {"parts": [{"image": 0}], "where": {"op": "range", "field": "price", "max": 20}, "sort": "-price"}
    (hit,) = server.search(query, plain((40 * 0, 200, 9)), name="own.index").json()["hits"]
    assert (hit["id"], hit["columns"]["price"]) == ("sku-9", 19.5)
    assert server.client.get(hit["image"]).content == plain((40 * 0, 200, 9))
    about = server.client.get("/api/v1/collections").json()[0]
    assert about["columns"]["price"] == "number"
    facets = server.client.post(f"{PLACE}/facets", json={"where": {"op": "eq", "field": "tags", "value": "red"}})
    assert facets.json()["columns"]["filename"]["values"] == [["red.png", 1]]
    assert facets.json()["items"] == 1
    # The file goes with its item, whatever that is called.
    kept = list((own_index / "uploads").rglob("*.png"))
    deleted = server.client.request("DELETE", f"{PLACE}/items", json={"ids": ["sku-9"]})
    assert server.ended(deleted)["result"]["deleted"] == 1
    assert len(list((own_index / "uploads").rglob("*.png"))) == len(kept) - 1


def test_an_id_that_is_uploaded_again_gets_the_new_picture(server, own_index):
    server.ended(post(server, [("a", plain((40 * 1, 200, 9)))], [{"id": "x", "columns": {"price": 1}}]))
    server.ended(post(server, [("b", plain((40 * 2, 200, 9)))], [{"id": "x"}]))
    shown = item(server, "x").json()
    assert shown["columns"] == {"filename": "b", "orientation": "square"}
    assert server.client.get(shown["image"]).content == plain((40 * 2, 200, 9))
    assert len(list((own_index / "uploads").rglob("*.png"))) == 1


def test_two_ids_may_have_one_picture(server, own_index):
    server.ended(
        post(server, [("a", plain((40 * 1, 200, 9))), ("b", plain((40 * 1, 200, 9)))], [{"id": "x"}, {"id": "y"}])
    )
    server.ended(server.client.request("DELETE", f"{PLACE}/items", json={"ids": ["x"]}))
    assert server.client.get(item(server, "y").json()["image"]).content == plain((40 * 1, 200, 9))


@pytest.mark.parametrize(
    ("items", "what"),
    [
        ([{}, {}], "2 entries for 1 images"),
        ([{"id": ""}], "at least 1"),
        ([{"name": "x"}], "items.0.name"),
        ([{"id": "uploads/x"}], "those of images without one"),
        ([{"id": "photo/circle/00.png"}], "indexed where it lies"),
        ([{"columns": {"size": 3}}], "'size' is not kept"),
        ([{"columns": {"price": [1, 2]}}], "items.0.columns"),
        ([{"columns": {"filename": 3}}], None),
        ([{"label": "a\nb"}], "label: the name holds a line end"),
        ({}, "valid array"),
    ],
)
def test_what_cannot_be_kept_is_refused(server, items, what):
    answer = post(server, pictures("a.png"), items)
    if what is None:
        assert answer.status_code == 202
        return
    assert what in is_problem(answer, 422)["detail"]


def test_another_type_than_the_collection_has(server):
    # A value that is missing tells no type.
    server.ended(post(server, [("n", plain((1, 2, 3)))], [{"columns": {"price": None}}]))
    server.ended(post(server, [("a", plain((40 * 1, 200, 9)))], [{"columns": {"price": 1}}]))
    answer = post(server, [("b", plain((40 * 2, 200, 9)))], [{"columns": {"price": "dear"}}])
    assert "'price' holds text here and numbers in the index" in is_problem(answer, 422)["detail"]


def test_jobs_of_older_servers_are_understood():
    old = {"ids": ["uploads/07/" + "0" * 40 + ".jpg"], "domain": "photo", "label": "cat"}
    addition = Addition.of(old)
    assert (addition.files, addition.images[0].label) == (old["ids"], "cat")


def test_links_out_of_a_folder_show_what_was_indexed(pictures_root, tmp_path):
    from crosslens.data.catalog import Catalog
    from crosslens.encoder import Encoder
    from testing.tiny_backbone import TinyBackbone

    root, outside = tmp_path / "linked", tmp_path / "outside.png"
    (root / "photo").mkdir(parents=True)
    outside.write_bytes(plain((40 * 3, 200, 9)))
    (root / "photo" / "link.png").symlink_to(outside)
    (root / "photo" / "own.png").write_bytes(plain((40 * 4, 200, 9)))
    Index.build(Catalog.open(root), Encoder(TinyBackbone()), tmp_path / "own.index")[0].close()
    with running(tmp_path / "own.index") as server:
        shown = item(server, "photo/link.png").json()
        assert server.client.get(shown["image"]).content == plain((40 * 3, 200, 9))
        assert server.client.get(shown["thumbnail"]).status_code == 200
        # Whatever it leads to later was not indexed.
        secret = tmp_path / "secret.png"
        secret.write_bytes(plain((40 * 5, 200, 9)))
        (root / "photo" / "link.png").unlink()
        (root / "photo" / "link.png").symlink_to(secret)
        assert "was not indexed" in is_problem(server.client.get(shown["image"]), 404)["detail"]
        outside.write_bytes(plain((40 * 6, 200, 9)))
