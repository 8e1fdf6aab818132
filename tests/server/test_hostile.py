"""Uploads and requests that mean harm, or are just broken."""

import contextlib
import io
import socket
import struct
import threading
import time
import zlib

import httpx2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from crosslens.server.bodies import parse_json
from crosslens.server.connections import DeadlineProtocol
from crosslens.server.problems import Problem
from crosslens.server.schemas import SearchRequest
from testing.servers import encoded, is_problem, plain, running

IMAGE = {"parts": [{"image": 0}], "top": 3}


def png_of(width, height, rows=b""):
    """A PNG whose head says ``width`` x ``height``; its data need not hold as much."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


HTML = b"<html><script>alert(1)</script></html>"
FORM = "multipart/form-data; boundary=b"
SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>'
REFUSED = {
    "empty": (b"", 415),
    "text": (b"hello", 415),
    "html": (HTML, 415),
    "svg of other files": (SVG, 422),
    "pdf": (b"%PDF-1.7\n" + b"x" * 100, 415),
    "eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n", 415),
    "zip": (b"PK\x03\x04" + bytes(60), 415),
    "psd": (b"8BPS\0\1" + bytes(60), 415),
    "bomb by its head": (png_of(60_000, 60_000), 413),
    "bomb within Pillow's limit": (png_of(8000, 8000), 413),
    "truncated png": (plain()[:60], 422),
    "truncated jpeg": (encoded(Image.effect_noise((99, 99), 90), "JPEG")[:900], 422),
    "head alone": (b"\x89PNG\r\n\x1a\n", 415),
    "no pixels": (png_of(40, 40), 422),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_uploads_that_are_refused(served, kind):
    content, status = REFUSED[kind]
    document = is_problem(served.search(IMAGE, content), status)
    assert "image 0" in document["detail"]
    assert "Traceback" not in document["detail"]
    is_problem(served.add(content), status)


def taken():
    """Pictures that look strange and are fine; all show the same thing."""
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8))
    turned = Image.Exif()
    turned[0x0112] = 6
    grey16 = Image.fromarray(np.asarray(noise.convert("L")).astype(np.uint16) * 257)
    return {
        "cmyk": encoded(noise.convert("CMYK"), "JPEG", quality=95),
        "16 bit": encoded(grey16),
        "palette with transparency": encoded(noise.convert("P"), transparency=0),
        "animated gif": encoded(noise, "GIF", save_all=True, append_images=[Image.new("RGB", (40, 40))] * 3),
        "grey with alpha": encoded(noise.convert("LA")),
        "webp": encoded(noise, "WEBP"),
        "tiff": encoded(noise, "TIFF"),
        "bmp": encoded(noise, "BMP"),
        "mpo": encoded(noise, "MPO", save_all=True, append_images=[noise]),
        "avif": encoded(noise, "AVIF"),
        "jpeg 2000": encoded(noise, "JPEG2000"),
        "icon": encoded(noise, "ICO"),
        "svg": b'<svg xmlns="http://www.w3.org/2000/svg"><circle cx="9" cy="9" r="9"/></svg>',
        "jpeg without its end": encoded(noise, "JPEG")[:-2],
        "turned": encoded(noise, "JPEG", exif=turned),
        "one pixel": plain(size=(1, 1)),
        "wide": plain(size=(4000, 2)),
        "polyglot": encoded(noise, "GIF") + HTML,
    }


@pytest.mark.parametrize("kind", taken())
def test_uploads_that_are_taken(served, kind):
    answer = served.search(IMAGE, taken()[kind])
    assert answer.status_code == 200, answer.text
    assert len(answer.json()["hits"]) == 3


def test_what_is_no_picture_is_said_once(served):
    said = {
        kind: served.search(IMAGE, content).json()["detail"] for kind, content in (("no", b"hello"), ("", b""))
    }
    assert said["no"].count("JPEG 2000") == 1
    assert said["no"].startswith("image 0 cannot be read: it is none of JPEG, PNG")
    assert said[""] == "image 0 cannot be read: it is empty (0 bytes)"


def test_a_turned_photo_is_searched_upright(served):
    rng = np.random.default_rng(1)
    upright = Image.fromarray(rng.integers(0, 256, (10, 10, 3), dtype=np.uint8)).resize((80, 80), 0)
    turned = Image.Exif()
    turned[0x0112] = 6
    # Orientation 6: the viewer turns the stored picture by 90 degrees clockwise.
    stored = upright.transpose(Image.Transpose.ROTATE_90)
    one = served.search(IMAGE, encoded(upright)).json()["hits"]
    other = served.search(IMAGE, encoded(stored, exif=turned)).json()["hits"]
    assert [hit["id"] for hit in one] == [hit["id"] for hit in other]
    assert np.allclose([hit["score"] for hit in one], [hit["score"] for hit in other], atol=1e-5)


@settings(max_examples=40)
@given(st.data())
def test_damaged_images_never_break_the_server(served, data):
    noise = Image.fromarray(np.random.default_rng(2).integers(0, 256, (32, 32, 3), dtype=np.uint8))
    content = bytearray(encoded(noise, data.draw(st.sampled_from(["PNG", "JPEG", "GIF"]))))
    for place in data.draw(st.lists(st.integers(0, len(content) - 1), max_size=8)):
        content[place] = data.draw(st.integers(0, 255))
    content = bytes(content[: data.draw(st.integers(0, len(content)))])
    assert served.search(IMAGE, content).status_code in (200, 413, 415, 422)


def test_pixels_are_limited_by_the_head(own_index):
    with running(own_index, max_pixels=1600) as server:
        assert server.search(IMAGE, plain(size=(40, 40)), name="own.index").status_code == 200
        document = is_problem(server.search(IMAGE, plain(size=(40, 41)), name="own.index"), 413)
        assert "1,600 pixels" in document["detail"]


def test_bodies_are_limited_while_they_arrive(own_index):
    with running(own_index, max_upload=20_000) as server:
        place = "/api/v1/collections/own.index/search"
        is_problem(server.client.post(place, content=b"x" * 30_000), 413)
        sent = 0

        def endless():
            nonlocal sent
            yield b'--b\r\nContent-Disposition: form-data; name="image"; filename="x.png"\r\n\r\n'
            for _ in range(100_000):
                sent += 1000
                yield b"x" * 1000

        # Without a length, in chunks: the connection closes long before the 100 MB are sent.
        with contextlib.suppress(httpx2.TransportError):
            assert server.client.post(place, content=endless(), headers={"Content-Type": FORM}).status_code == 413
        assert sent < 20_000_000
        assert server.client.get("/health").status_code == 200


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"{", "application/json", 400),
        (b"\xff\xfe", "application/json", 400),
        (b"[" * 100_000, "application/json", 400),
        (b'{"parts":' + b"[" * 60 + b"]" * 60 + b"}", "application/json", 422),
        (b'{"parts":[{"text":"a"}],"where":' + b'{"op":"not","filter":' * 400, "application/json", 400),
        (b'{"parts":[{"text":"' + b"a" * (1 << 20) + b'"}]}', "application/json", 413),
        (b"a=b", "application/x-www-form-urlencoded", 415),
        (b"", "", 415),
        (b"xxx", "multipart/form-data", 400),
        (b"xxx", "multipart/form-data; boundary=", 400),
        (b"xxx", "multipart/form-data; boundary=b", 400),
        (b'--b\r\nContent-Disposition: form-data; name="query"\r\n\r\n{}', FORM, 400),
        (b"--b--\r\n", FORM, 422),
        (b'--b\r\nContent-Disposition: form-data; name="other"\r\n\r\nx\r\n--b--\r\n', FORM, 422),
        (b'--b\r\nContent-Disposition: form-data; name="images"\r\n\r\nx\r\n--b--\r\n', FORM, 422),
    ],
)  # fmt: skip
def test_bodies_that_cannot_be_read(served, body, kind, status):
    place = "/api/v1/collections/pictures.index/search"
    answer = served.client.post(place, content=body, headers={"Content-Type": kind} if kind else {})
    if kind.startswith("multipart"):
        assert answer.status_code in (status, 400, 422)
        is_problem(answer, answer.status_code)
    else:
        is_problem(answer, status)


ANYTHING = st.recursive(
    st.none() | st.integers() | st.text(max_size=5),
    lambda part: st.lists(part, max_size=3) | st.dictionaries(st.text(max_size=5), part, max_size=3),
    max_leaves=8,
)


@settings(max_examples=40)
@given(ANYTHING)
def test_json_is_parsed_or_refused(value):
    import json

    with pytest.raises(Problem) as refused:
        parse_json(json.dumps({"parts": value}).encode(), SearchRequest)
    assert refused.value.status in (400, 422)


TRAVERSALS = [
    "../../../../etc/passwd", "/etc/passwd", "..%2f..%2fetc%2fpasswd", "photo/../../../etc/passwd",
    "file:///etc/passwd", "photo/circle/00.png\0.jpg", "....//....//etc/passwd", "\\..\\..\\etc",
    "http://127.0.0.1:1/x.png", "uploads/../index.json", "~/.ssh/id_rsa", "%00", "\u202e", "x" * 1024,
]  # fmt: skip


@pytest.mark.parametrize("image", TRAVERSALS)
def test_no_id_leads_outside(served, image):
    for what in ("item", "thumbnail", "image"):
        is_problem(served.client.get(f"/api/v1/collections/pictures.index/{what}", params={"id": image}), 404)
    is_problem(served.ask({"parts": [{"like": image}]}), 422)


@pytest.mark.parametrize(
    "place",
    [
        "/../../etc/passwd", "/..%2f..%2fetc%2fpasswd", "/%2e%2e/%2e%2e/etc/passwd", "/assets/..%2f..%2fapp.py",
        "/assets/../../app.py", "/assets/%2e%2e/%2e%2e/app.py", "/assets/%00", "//etc/passwd",
        "/assets//etc/passwd", "/api/v1/collections/..%2f..%2f/item?id=x", "/api/v1/collections/%2e%2e/search",
        "/app.py", "/index.html%00.js",
    ],
)  # fmt: skip
def test_no_address_leads_outside(served, place):
    received = served.raw(f"GET {place} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    assert received.split(b" ")[1] in (b"404", b"405", b"400")
    assert b"import" not in received
    assert b"root:" not in received


def test_links_out_of_the_roots_are_not_followed(pictures_root, tmp_path):
    import shutil

    from crosslens.data.catalog import Catalog
    from crosslens.encoder import Encoder
    from crosslens.search.index.index import Index
    from testing.tiny_backbone import TinyBackbone

    root = tmp_path / "pictures"
    shutil.copytree(pictures_root / "photo", root / "photo")
    Index.build(Catalog.open(root), Encoder(TinyBackbone()), tmp_path / "linked.index")
    secret = tmp_path / "secret.png"
    secret.write_bytes(plain())
    inside = root / "photo" / "circle" / "00.png"
    inside.unlink()
    inside.symlink_to(secret)
    gone = root / "photo" / "circle" / "01.png"
    gone.unlink()
    changed = root / "photo" / "circle" / "02.png"
    changed.write_bytes(b"root:x:0:0")
    with running(tmp_path / "linked.index") as server:
        for image in ("photo/circle/00.png", "photo/circle/01.png", "photo/circle/02.png"):
            for what in ("thumbnail", "image"):
                answer = server.client.get(f"/api/v1/collections/linked.index/{what}", params={"id": image})
                document = is_problem(answer, 404)
                assert str(tmp_path) not in document["detail"]
        place = "/api/v1/collections/linked.index/image"
        assert server.client.get(place, params={"id": "photo/circle/03.png"}).status_code == 200


class Hasty(DeadlineProtocol):
    header_timeout = 0.3
    write_timeout = 0.5


def test_a_head_that_never_ends_is_cut_off(own_index):
    with running(own_index, protocol=Hasty) as server:
        for start in (b"", b"GET / HTTP/1.1\r\n", b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\nGET / HT"):
            with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
                connection.sendall(start)
                began = time.monotonic()
                # Dripping headers must not help.
                stop = threading.Event()

                def drip(connection=connection, stop=stop):
                    while not stop.wait(0.1):
                        try:
                            connection.sendall(b"x")
                        except OSError:
                            return

                dripping = threading.Thread(target=drip)
                if start.startswith(b"GET / "):
                    dripping.start()
                try:
                    while connection.recv(4096):
                        pass
                except OSError:
                    pass
                stop.set()
                if dripping.ident:
                    dripping.join()
                assert time.monotonic() - began < 9
        assert server.client.get("/health").status_code == 200


def test_a_body_that_never_ends_is_cut_off(own_index):
    with running(own_index, body_timeout=0.4) as server:
        head = (
            "POST /api/v1/collections/own.index/search HTTP/1.1\r\nHost: localhost\r\n"
            "Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n{"
        )
        began = time.monotonic()
        received = server.raw(head.encode())
        assert b" 408 " in received.split(b"\r\n")[0]
        assert time.monotonic() - began < 25


def test_an_answer_that_nobody_reads_is_given_up(own_index):
    with running(own_index, protocol=Hasty) as server:
        big = np.random.default_rng(0).integers(0, 256, (1500, 1500, 3), dtype=np.uint8)
        item = server.ended(server.add(encoded(Image.fromarray(big), "BMP"), name="own.index"))
        assert item["state"] == "done"
        found = server.search(IMAGE, encoded(Image.fromarray(big), "BMP"), name="own.index").json()["hits"][0]
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", server.port))
        connection.sendall(f"GET {found['image']} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        time.sleep(1.5)
        connection.settimeout(5)
        received = 0
        try:
            while chunk := connection.recv(65536):
                received += len(chunk)
        except OSError:
            pass
        connection.close()
        assert received < 1500 * 1500 * 3


def test_heads_are_limited(served):
    large = b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 70_000
    with contextlib.suppress(ConnectionError):
        assert b" 400 " in served.raw(large).split(b"\r\n")[0]
    assert served.client.get("/health").status_code == 200


def test_hosts_and_origins(served):
    assert served.client.get("/health", headers={"Host": "localhost"}).status_code == 200
    assert served.client.get("/health", headers={"Host": f"[::1]:{served.port}"}).status_code == 200
    is_problem(served.client.get("/health", headers={"Host": "evil.example"}), 403)
    is_problem(served.client.get("/health", headers={"Host": "localhost.evil.example"}), 403)
    query = {"parts": [{"text": "circle"}]}
    assert served.ask(query, headers={"Origin": served.url}).status_code == 200
    for origin in ("http://evil.example", "null", f"http://localhost:{served.port + 1}", "https://127.0.0.1"):
        is_problem(served.ask(query, headers={"Origin": origin}), 403)
    is_problem(served.ask(query, headers={"Sec-Fetch-Site": "cross-site"}), 403)
    is_problem(served.ask(query, headers={"Sec-Fetch-Site": "same-site"}), 403)
    assert (
        "access-control-allow-origin" not in served.client.get("/health", headers={"Origin": "http://x"}).headers
    )


def test_headers(served):
    for place in ("/", "/docs", "/api/v1/collections", "/nothing", "/openapi.json"):
        headers = served.client.get(place).headers
        policy = headers["content-security-policy"]
        assert "default-src 'self'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert "server" not in headers
    assert served.client.get("/api/v1/collections").headers["cache-control"] == "no-store"


def test_a_file_is_shown_as_an_image_whatever_else_it_is(own_index):
    with running(own_index) as server:
        polyglot = encoded(Image.new("RGB", (40, 40), "red"), "GIF") + HTML
        assert server.ended(server.add(polyglot, name="own.index"))["state"] == "done"
        found = server.search(IMAGE, polyglot, name="own.index").json()["hits"][0]
        assert found["id"].startswith("uploads/")
        answer = server.client.get(found["image"])
        assert answer.content == polyglot
        assert answer.headers["content-type"] == "image/gif"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "sandbox" in answer.headers["content-security-policy"]
        small = Image.open(io.BytesIO(server.client.get(found["thumbnail"]).content))
        assert small.format == "WEBP"
