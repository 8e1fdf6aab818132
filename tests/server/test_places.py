"""A server over pictures, and over an index, in object storage."""

import io
from urllib.parse import quote

import pytest
from PIL import Image

from crosslens.encoder import Encoder
from crosslens.search.index.index import Index
from testing.servers import running
from testing.tiny_backbone import TinyBackbone
from testing.tiny_pictures import make_pictures

FIRST = "photo/circle/00.png"


@pytest.fixture
def away(storage, bucket, tmp_path):
    storage.upload(make_pictures(tmp_path / "data", count=2), bucket, "data")
    return f"s3://{bucket}"


@pytest.fixture(params=["here", "there"])
def server(request, tiny_world, away, tmp_path):
    place = tmp_path / "my.index" if request.param == "here" else f"{away}/my.index"
    Index.build(f"{away}/data", Encoder(TinyBackbone()), place)
    with running(place) as server:
        yield server


def url(what, image=FIRST):
    return f"/api/v1/collections/my.index/{what}?id={quote(image, safe='')}"


def test_pictures_are_shown_from_the_bucket(server, storage, tmp_path):
    small = server.client.get(url("thumbnail"))
    assert small.status_code == 200
    assert Image.open(io.BytesIO(small.content)).size == (40, 40)
    # Made once; afterwards it is asked for its tag alone.
    storage.seen.clear()
    assert server.client.get(url("thumbnail")).content == small.content
    assert (storage.count("GET", r"\.png"), storage.count("HEAD", r"\.png")) == (0, 1)
    whole = server.client.get(url("image"))
    assert whole.content == (tmp_path / "data" / FIRST).read_bytes()
    assert whole.headers["content-type"] == "image/png"
    again = server.client.get(url("image"), headers={"If-None-Match": whole.headers["etag"]})
    assert again.status_code == 304


@pytest.mark.parametrize("server", ["here"], indirect=True)
def test_an_index_in_a_folder_that_may_not_be_written_is_read(server, tmp_path, monkeypatch):
    # The one who runs the tests may write everywhere.
    monkeypatch.setattr("crosslens.server.collection.os.access", lambda folder, how: False)
    assert server.client.get("/api/v1/collections").json()[0]["writable"] is False
    added = server.add((tmp_path / "data" / FIRST).read_bytes(), name="my.index")
    assert added.status_code == 403
    assert "may read and not write" in added.text


def test_a_picture_that_is_gone_or_cannot_be_read_is_not_found(server, storage, bucket):
    storage.client.delete_object(Bucket=bucket, Key=f"data/{FIRST}")
    storage.fault("denied", "sketch/circle/00.png")
    for image in (FIRST, "sketch/circle/00.png", "nobody"):
        for what in ("thumbnail", "image"):
            assert server.client.get(url(what, image)).status_code == 404


def test_a_search_finds_and_an_index_in_the_bucket_is_not_changed(server, tmp_path):
    content = (tmp_path / "data" / FIRST).read_bytes()
    answer = server.search({"parts": [{"image": 0}]}, content, name="my.index")
    assert answer.status_code == 200, answer.text
    assert answer.json()["hits"][0]["id"] == FIRST
    added = server.add(content, name="my.index")
    is_there = server.service.collection("my.index").folder != tmp_path / "my.index"
    assert added.status_code == (403 if is_there else 202)
    assert server.client.get("/api/v1/collections").json()[0]["writable"] is not is_there
    if is_there:
        assert "read and not changed" in added.text
        gone = server.client.request("DELETE", "/api/v1/collections/my.index/items", json={"ids": [FIRST]})
        assert gone.status_code == 403
    else:
        assert server.ended(added)["state"] == "done"
