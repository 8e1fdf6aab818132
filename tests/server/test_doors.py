"""What clients, browsers and proxies send that is right but written another way, and what is said of the wrong."""

import io
import json

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from crosslens.search.index.index import Index
from crosslens.server.guards import _is_same
from testing.servers import encoded, is_problem, plain, running

WORDS = {"parts": [{"text": "circle"}], "top": 3}
PLACE = "/api/v1/collections/pictures.index"


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ({"parts": [{"text": "x" * 3000}]}, "parts.0.text: String should have at most 2000 characters"),
        ({"parts": [{"text": "x", "weight": 1000}]}, "parts.0.weight: Input should be less than or equal to 100"),
        ({"parts": [{"like": ""}]}, "parts.0.like: String should have at least 1 character"),
        ({"parts": [{"image": "0"}]}, "parts.0.image: Input should be a valid integer"),
        (
            {"parts": [{"text": "x"}, {"image": 0, "text": "x"}]},
            "parts.1: a part names exactly one of image",
        ),
        ({"parts": [{"weight": 1}]}, "parts.0: a part names exactly one of image, text and like"),
        ({"parts": ["circle"]}, "parts.0: a part names exactly one of image, text and like"),
        ({"parts": [{"text": "x", "wieght": 1}]}, "parts.0.wieght: Extra inputs are not permitted"),
        (
            WORDS | {"where": {"op": "range", "field": "size", "min": 1000.0}},
            "where.range.min: size holds a whole number, not 1000.0",
        ),
        (
            WORDS | {"where": {"op": "eq", "field": "path", "value": "x"}},
            "where: the server takes no filters",
        ),
        ({"parts": [{"image": 0}, {"image": 0}]}, "two parts name the same image"),
        (WORDS | {"top": True}, "top: Input should be a valid integer"),
        (WORDS | {"top": "2"}, "top: Input should be a valid integer"),
        (WORDS | {"top": 2.0}, "top: Input should be a valid integer"),
        (WORDS | {"min_score": "0.5"}, "min_score: Input should be a valid number"),
        (WORDS | {"fold": True}, "fold: Input should be a valid number"),
        (WORDS | {"include_self": 1}, "include_self: Input should be a valid boolean"),
        (WORDS | {"domain": "  "}, "the domain '  ' is blank"),
        (WORDS | {"domain": "a\nb"}, "the domain 'a\\nb' holds a line end"),
        ({"parts": [{"text": "\u200b\u0301"}]}, "talker reads no word in the text"),
    ],
)
def test_the_first_sentence_names_what_is_wrong(served, query, sentence):
    document = is_problem(served.ask(query), 422)
    assert document["detail"].startswith(sentence)
    for error in document.get("errors", []):
        assert "Part" not in error["where"]


def test_half_a_character_is_no_json(served):
    content = b'{"parts":[{"text":"\\ud83d"}]}'
    answer = served.client.post(f"{PLACE}/search", content=content, headers={"Content-Type": "application/json"})
    is_problem(answer, 400)


def test_whole_numbers_serve_as_numbers(served):
    query = WORDS | {"min_score": 0, "fold": 1, "min_match": 0, "parts": [{"text": "circle", "weight": 1}]}
    assert served.ask(query).status_code == 200


def test_the_query_may_come_as_a_file(served):
    """As generated clients and a browser's FormData send JSON: ``new Blob([...], {type: "application/json"})``."""
    query = json.dumps({"parts": [{"image": 0}], "top": 3}).encode()
    files = [("query", ("blob", query, "application/json")), ("images", ("a.png", plain()))]
    answer = served.client.post(f"{PLACE}/search", files=files)
    assert answer.status_code == 200, answer.text
    expected = served.search({"parts": [{"image": 0}], "top": 3}, plain()).json()
    assert answer.json()["hits"] == expected["hits"]
    is_problem(served.client.post(f"{PLACE}/search", files=[*files, files[0]]), 422)
    bad = [("query", ("blob", b"\xff\xfe", "application/json"))]
    is_problem(served.client.post(f"{PLACE}/search", files=bad), 400)
    large = [("query", ("blob", b" " * (1 << 20) + b"{}", "application/json"))]
    is_problem(served.client.post(f"{PLACE}/search", files=large), 413)
    many = [("images", (f"{n}.png", plain())) for n in range(9)]
    is_problem(served.client.post(f"{PLACE}/search", files=[files[0], *many]), 413)


ORIGINS = [
    ("https://localhost", "localhost:443", True),
    ("http://localhost", "localhost:80", True),
    ("https://localhost:443", "localhost", True),
    ("http://LOCALHOST", "localhost", True),
    ("http://[::1]:8000", "[::1]:8000", True),
    ("https://[::1]", "[::1]:443", True),
    ("https://localhost", "localhost", True),
    ("https://localhost", "localhost:80", False),
    ("http://localhost", "localhost:443", False),
    ("http://localhost:8001", "localhost:8000", False),
    ("http://localhost:443", "localhost", False),
    ("https://localhost:8443", "localhost", False),
    ("http://evil.example", "localhost", False),
    ("http://localhost.evil.example", "localhost", False),
    ("http://localhost@evil.example", "localhost", False),
    ("null", "localhost", False),
    ("", "localhost", False),
    ("file://localhost", "localhost", False),
    ("http://localhost:x", "localhost", False),
    ("http://localhost:99999", "localhost", False),
]


@pytest.mark.parametrize(("origin", "host", "same"), ORIGINS)
def test_origins_and_their_default_ports(served, origin, host, same):
    answer = served.ask(WORDS, headers={"Origin": origin, "Host": host})
    assert answer.status_code == (200 if same else 403), answer.text


def test_a_proxy_that_drops_the_port(served):
    """``proxy_set_header Host $host`` behind another port than 443: the browser says the page asks its own."""
    headers = {"Origin": "https://localhost:8443", "Host": "localhost"}
    assert served.ask(WORDS, headers=headers | {"Sec-Fetch-Site": "same-origin"}).status_code == 200
    for site in ("none", "same-site", "cross-site"):
        is_problem(served.ask(WORDS, headers=headers | {"Sec-Fetch-Site": site}), 403)
    vouched = {"Sec-Fetch-Site": "same-origin", "Host": "localhost"}
    is_problem(served.ask(WORDS, headers=vouched | {"Origin": "https://evil.example"}), 403)
    is_problem(served.ask(WORDS, headers=vouched | {"Origin": "null"}), 403)


@given(
    st.sampled_from(["http", "https"]),
    st.sampled_from(["a.example", "b.example", "[::1]"]),
    st.sampled_from(["a.example", "b.example", "[::1]"]),
    st.sampled_from([None, 80, 443, 8000]),
    st.sampled_from([None, 80, 443, 8000]),
)
def test_origins_are_the_same_by_name_and_port(scheme, name, other, port, called):
    default = {"http": 80, "https": 443}[scheme]
    expected = name == other and (port or default) == (called or default)
    written = ["" if one is None else f":{one}" for one in (port, called)]
    assert _is_same(f"{scheme}://{name}{written[0]}", f"{other}{written[1]}", vouched=False) == expected


def test_allowed_hosts_may_be_written_with_a_port(own_index):
    with running(own_index, allow_hosts=("Search.example.org:8443", "fd00::7")) as server:
        for host in ("search.example.org", "search.example.org:8443", "[fd00::7]:8000"):
            assert server.client.get("/health", headers={"Host": host}).status_code == 200
        is_problem(server.client.get("/health", headers={"Host": "other.example.org"}), 403)


def test_head_is_get_without_the_body(served):
    item = served.ask(WORDS).json()["hits"][0]
    places = [
        "/",
        "/health",
        "/ready",
        "/docs",
        "/docs.css",
        "/openapi.json",
        "/api/v1/collections",
        "/api/v1/jobs",
    ]
    for place in (
        *places,
        item["image"],
        item["thumbnail"],
        f"{PLACE}/item?id=nobody",
        "/nothing/here",
        "/metrics",
    ):
        got, head = served.client.get(place), served.client.head(place)
        assert (head.status_code, head.content) == (got.status_code, b""), place
        same = (
            got.headers.keys() - {"date", "x-request-id"} - ({"content-length"} if place == "/metrics" else set())
        )
        assert {name: head.headers[name] for name in same} == {name: got.headers[name] for name in same}
    assert served.client.head(f"{PLACE}/search").status_code == 405
    counted = served.client.get("/metrics").text
    assert 'crosslens_requests_total{method="HEAD",route="/health",status="200"}' in counted
    assert "head" not in {
        method for one in served.client.get("/openapi.json").json()["paths"].values() for method in one
    }


def test_tags_that_a_proxy_made_weak(served):
    item = served.ask(WORDS).json()["hits"][0]
    for place in (item["image"], item["thumbnail"], "/", "/icon.svg"):
        tag = served.client.get(place).headers["etag"]
        assert not tag.startswith("W/")
        for held in (tag, f"W/{tag}", f'"other", W/{tag}', f'W/"other",{tag}', "*"):
            for ask in (served.client.get, served.client.head):
                answer = ask(place, headers={"If-None-Match": held})
                assert (answer.status_code, answer.content) == (304, b""), held
        for held in ('W/"other"', tag.strip('"'), f"w/{tag}", ""):
            assert served.client.get(place, headers={"If-None-Match": held}).status_code == 200, held


LONG = ["photo/" + "/".join(["a" * 240] * 8) + ".png", "photo/" + "é" * 2000, "photo/" + "東" * 1360]


@pytest.mark.parametrize("image", LONG, ids=["ascii", "accents", "wide"])
def test_long_ids_are_taken_as_they_are_given(own_index, image):
    index = Index.open(own_index)
    hit, vector = index.get("photo/circle/00.png")
    row = {"id": [image], "path": [hit.path], "root": [hit.root], "domain": ["photo"]}
    index.upsert(pa.table(row), -vector[None], index.fingerprint)
    with running(own_index) as server:
        query = {"parts": [{"like": "photo/circle/00.png", "weight": -1}], "top": 1}
        (found,) = server.ask(query, name="own.index").json()["hits"]
        assert found["id"] == image
        assert server.client.get(found["thumbnail"]).status_code == 200
        assert server.client.get(found["image"]).status_code == 200
        place = "/api/v1/collections/own.index"
        assert server.client.get(f"{place}/item", params={"id": image}).json()["id"] == image
        assert server.ask({"parts": [{"like": image}], "top": 1}, name="own.index").status_code == 200
        deleted = server.client.request("DELETE", f"{place}/items", json={"ids": [image]})
        assert server.ended(deleted)["result"]["deleted"] == 1


def test_names_of_uploads_are_read_as_those_of_folders(own_index):
    with running(own_index) as server:
        for number, (domain, label, kept) in enumerate(
            [("photo ", None, "photo"), ("\u200bphoto", "a ", "photo"), ("e\u0301te\u0301", "cafe\u0301", "été")]
        ):
            content = plain((number, 9, 9))
            assert (
                server.ended(server.add(content, domain=domain, label=label, name="own.index"))["state"] == "done"
            )
            found = server.search({"parts": [{"image": 0}], "top": 1}, content, name="own.index").json()["hits"][0]
            assert found["domain"] == kept
            assert found["label"] in (None, "a", "café")
        for wrong in ("", "   ", "\u200b", "a\x1bb", "a\nb", "x" * 101):
            document = is_problem(server.add(plain(), domain=wrong, name="own.index"), 422)
            assert document["detail"].startswith("domain: ")
            is_problem(server.add(plain(), label=wrong, name="own.index"), 422)
        long = "x" * 100
        assert server.ended(server.add(plain(), domain=long, name="own.index"))["state"] == "done"


def test_an_unknown_domain_is_said(centred):
    picture = plain((7, 7, 7))
    query = {"parts": [{"image": 0}], "top": 5}
    told, near, far = (
        centred.search(query | {"domain": name}, picture, name="centred.index").json()
        for name in ("sketch", "Sketch", "Zeichnung")
    )
    assert told["notes"] == []
    assert near["hits"] == told["hits"]
    assert "'Sketch'" in near["notes"][0]
    assert "'Zeichnung'" in far["notes"][0]
    assert far["hits"] != told["hits"]


def test_an_unknown_domain_of_uploads_is_said(centred_index, tmp_path):
    import shutil

    shutil.copytree(centred_index, tmp_path / "c.index")
    with running(tmp_path / "c.index") as server:
        assert server.ended(server.add(plain(), name="c.index"))["message"] == "1 images added"
        message = server.ended(server.add(plain((1, 2, 3)), domain="Zeichnung", name="c.index"))["message"]
        assert message.startswith("1 images added; the encoder knows no domain 'Zeichnung', only photo, sketch")


def large():
    """Files of more than a mebibyte whose head does not fit into the first."""
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (700, 700, 3), dtype=np.uint8))
    padded = encoded(noise.resize((64, 64)), "JPEG")
    wide = noise.resize((2000, 2000), 0)
    segment = b"\xff\xe9\xff\xff" + b"x" * 65533
    tiff = io.BytesIO()
    noise.save(tiff, "TIFF", compression="tiff_lzw")
    return {
        "tif": (tiff.getvalue(), "image/tiff"),
        "webp": (encoded(noise, "WEBP", lossless=True), "image/webp"),
        "jpg": (padded[:2] + segment * 20 + padded[2:], "image/jpeg"),
        "mpo": (encoded(wide, "MPO", save_all=True, append_images=[wide]), "image/jpeg"),
        "png": (encoded(noise), "image/png"),
    }


def test_large_originals_are_given(own_index, tmp_path):
    index = Index.open(own_index)
    files = large()
    for name, (content, _) in files.items():
        assert len(content) > 1 << 20
        (tmp_path / f"large.{name}").write_bytes(content)
    rows = {
        "id": [f"large.{name}" for name in files],
        "path": [str(tmp_path / f"large.{name}") for name in files],
        "root": [str(tmp_path)] * len(files),
        "domain": ["photo"] * len(files),
    }
    vectors = np.random.default_rng(1).standard_normal((len(files), index.fingerprint.dim)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    index.upsert(pa.table(rows), vectors, index.fingerprint)
    index.add_root(str(tmp_path))
    with running(own_index) as server:
        for name, (content, kind) in files.items():
            answer = server.client.get("/api/v1/collections/own.index/image", params={"id": f"large.{name}"})
            assert answer.status_code == 200, name
            assert answer.headers["content-type"] == kind
            assert answer.content == content


def test_pictures_of_phones_are_taken_at_every_door(own_index):
    """MPO: a JPEG with further pictures behind the first, called .jpg by phones."""
    noise = Image.fromarray(np.random.default_rng(2).integers(0, 256, (40, 40, 3), dtype=np.uint8))
    content = encoded(noise, "MPO", save_all=True, append_images=[noise])
    with running(own_index) as server:
        job = server.ended(server.add(content, name="own.index"))
        assert (job["state"], job["result"]["added"]) == ("done", 1)
        (found,) = server.search({"parts": [{"image": 0}], "top": 1}, content, name="own.index").json()["hits"]
        assert found["id"].startswith("uploads/")
        answer = server.client.get(found["image"])
        assert (answer.status_code, answer.headers["content-type"]) == (200, "image/jpeg")
        assert answer.content == content
        assert server.client.get(found["thumbnail"]).status_code == 200
