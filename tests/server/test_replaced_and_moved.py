"""Index folders that are replaced or moved under a server, or between two of its starts."""

import shutil
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from crosslens.data.catalog import Catalog
from crosslens.encoder import Encoder
from crosslens.encoder.parts import Heads
from crosslens.nn.heads import Head
from crosslens.search.index.index import Index
from crosslens.search.query.match_estimator import MatchEstimator
from crosslens.server import embedding
from testing.servers import is_problem, plain, running
from testing.tiny_backbone import TinyBackbone

IMAGE = {"parts": [{"image": 0}], "top": 10}


@pytest.fixture
def server(own_index):
    with running(own_index) as started:
        yield started


def build(pictures_root, folder, encoder):
    return Index.build(Catalog.open(pictures_root), encoder, folder)[0]


def replace(own_index, by):
    own_index.rename(own_index.with_name("old.index"))
    by.rename(own_index)


def info(server):
    return server.client.get("/api/v1/collections").json()[0]


def wait_for(condition, seconds=120):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def picture_of(index, image):
    return Path(index.get(image)[0].path).read_bytes()


@pytest.mark.parametrize("dim", [64, 16])
def test_another_index_at_the_same_path_is_served_whole(server, own_index, pictures_root, tmp_path, dim):
    encoder = Encoder(TinyBackbone(seed=1)) if dim == 64 else Encoder(TinyBackbone(), [Heads([Head((64, dim))])])
    new = build(pictures_root, tmp_path / "new.index", encoder)
    before = info(server)
    assert server.search(IMAGE, plain(), name="own.index").status_code == 200
    wait_for(lambda: info(server)["calibrated"])
    assert Index.open(own_index).version == new.version
    replace(own_index, tmp_path / "new.index")
    wait_for(lambda: info(server)["fingerprint"] != before["fingerprint"])
    after = info(server)
    assert after["fingerprint"] == new.fingerprint.digest
    assert (after["items"], after["dim"], after["encoder"]) == (32, dim, encoder.name)
    assert after["version"] != before["version"]
    opened = Index.open(own_index)

    def check():
        for image in ("photo/circle/01.png", "sketch/cross/02.png"):
            picture = picture_of(opened, image)
            answer = server.search(IMAGE, picture, name="own.index").json()
            expected = opened.search(encoder.encode_images([picture]), 10)[0]
            assert [hit["id"] for hit in answer["hits"]] == [hit.id for hit in expected]
            assert np.allclose([h["score"] for h in answer["hits"]], [h.score for h in expected], atol=1e-4)

    check()
    # So it stays when the new one changes.
    opened.delete(["photo/circle/00.png"])
    wait_for(lambda: info(server)["items"] == 31)
    check()
    # Its probabilities are its own too.
    wait_for(lambda: info(server)["calibrated"])
    picture = picture_of(opened, "sketch/cross/02.png")
    answer = server.search(IMAGE, picture, name="own.index").json()
    expected = MatchEstimator(opened).probability(encoder.encode_images([picture])[0])
    assert answer["match_probability"] == pytest.approx(expected, abs=1e-3)
    # And what is uploaded goes through its encoder.
    assert server.ended(server.add(plain(), name="own.index"))["state"] == "done"
    (hit,) = server.search(IMAGE | {"top": 1}, plain(), name="own.index").json()["hits"]
    assert hit["id"].startswith("uploads/")
    assert hit["score"] == pytest.approx(1, abs=1e-3)


def test_a_request_under_way_keeps_the_index_it_began_with(
    server, own_index, pictures_root, tmp_path, monkeypatch
):
    held = Index.open(own_index)
    picture = picture_of(held, "photo/square/03.png")
    expected = held.search(held.encoder.encode_images([picture]), 10)[0]
    new = build(pictures_root, tmp_path / "new.index", Encoder(TinyBackbone(seed=1)))
    reached, allowed = threading.Event(), threading.Event()
    real = embedding.Embedding._embedded

    async def slow(self, *arguments, **options):
        found = await real(self, *arguments, **options)
        reached.set()
        while not allowed.is_set():
            await embedding.asyncio.sleep(0.01)
        return found

    monkeypatch.setattr(embedding.Embedding, "_embedded", slow)
    answers = []
    asking = threading.Thread(target=lambda: answers.append(server.search(IMAGE, picture, name="own.index")))
    asking.start()
    assert reached.wait(120)
    replace(own_index, tmp_path / "new.index")
    wait_for(lambda: info(server)["fingerprint"] == new.fingerprint.digest)
    allowed.set()
    asking.join(120)
    hits = answers[0].json()["hits"]
    assert [hit["id"] for hit in hits] == [hit.id for hit in expected]
    assert np.allclose([hit["score"] for hit in hits], [hit.score for hit in expected], atol=1e-4)


def test_an_index_that_is_gone_is_said_to_be_and_may_come_back(server, own_index):
    own_index.rename(own_index.with_name("away"))
    time.sleep(1.1)
    document = is_problem(server.search(IMAGE, plain(), name="own.index"), 503)
    assert str(own_index.parent) not in document["detail"]
    own_index.with_name("away").rename(own_index)
    assert len(server.search(IMAGE, plain(), name="own.index").json()["hits"]) == 10


@pytest.mark.parametrize("way", ["moved", "copied"])
def test_uploads_move_with_their_index(own_index, tmp_path, way):
    with running(own_index) as server:
        server.ended(server.add(plain(), plain((1, 2, 3)), domain="flat", name="own.index"))
    place = tmp_path / "elsewhere" / "shop.index"
    place.parent.mkdir()
    (own_index.rename if way == "moved" else lambda to: shutil.copytree(own_index, to))(place)
    flat = {"op": "eq", "field": "domain", "value": "flat"}
    with running(place) as server:
        hits = server.search(IMAGE | {"where": flat}, plain(), name="shop.index").json()["hits"]
        assert len(hits) == 2
        assert server.client.get(hits[0]["image"]).content == plain()
        assert server.client.get(hits[0]["thumbnail"]).headers["content-type"] == "image/webp"
        deleted = server.client.request("DELETE", "/api/v1/collections/shop.index/items", json={"where": flat})
        assert server.ended(deleted)["result"]["deleted"] == 2
        is_problem(server.client.get(hits[0]["image"]), 404)
    assert [file for file in (place / "uploads").rglob("*") if file.is_file()] == []
    if way == "copied":
        # The other copy is another index, and nobody else's business.
        assert len([file for file in (own_index / "uploads").rglob("*") if file.is_file()]) == 2


def test_an_uploads_old_place_is_not_served(own_index, tmp_path):
    with running(own_index) as server:
        server.ended(server.add(plain(), name="own.index"))
    place = tmp_path / "shop.index"
    shutil.copytree(own_index, place)
    with running(place) as server:
        (hit,) = server.search(IMAGE | {"top": 1}, plain(), name="shop.index").json()["hits"]
        (place / hit["id"]).unlink()
        assert (own_index / hit["id"]).is_file()
        is_problem(server.client.get(hit["image"]), 404)
        # Nor what a link among the uploads leads to.
        (place / hit["id"]).symlink_to(own_index / hit["id"])
        is_problem(server.client.get(hit["image"]), 404)


def test_pictures_that_were_moved_are_served_from_their_new_place(pictures_root, tmp_path):
    root, new = tmp_path / "pictures", tmp_path / "new"
    shutil.copytree(pictures_root, root)
    index = build(root, tmp_path / "own.index", Encoder(TinyBackbone()))
    item = {"id": "photo/circle/00.png"}
    content = (root / item["id"]).read_bytes()
    with running(tmp_path / "own.index") as server:
        place = "/api/v1/collections/own.index/image"
        assert server.client.get(place, params=item).content == content
        root.rename(new)
        assert "no longer on the server's disk" in is_problem(server.client.get(place, params=item), 404)["detail"]
        index.relocate(root, new)
        server.service.collections["own.index"].refresh(now=True)
        assert server.client.get(place, params=item).content == content
