"""The same formats for searches, uploads, thumbnails and originals."""

import io

import numpy as np
import pytest
from PIL import Image

from crosslens.data.catalog import Catalog
from crosslens.encoder import Encoder
from crosslens.images.formats import FORMATS
from crosslens.search.index.index import Index
from crosslens.search.index.making import UPLOADS, is_upload
from testing.picture_files import encoded
from testing.servers import running
from testing.tiny_backbone import TinyBackbone

IMAGE = {"parts": [{"image": 0}]}
FORMS = {
    "mpo": ("MPO", "image/jpeg"),
    "jpe": ("JPEG", "image/jpeg"),
    "apng": ("PNG", "image/png"),
    "heic": ("HEIF", "image/heic"),
    "avif": ("AVIF", "image/avif"),
    "jp2": ("JPEG2000", "image/jp2"),
    "dib": ("DIB", "image/bmp"),
    "ico": ("ICO", "image/vnd.microsoft.icon"),
    "svg": ("SVG", "image/svg+xml"),
}


def content(suffix, seed):
    colour = tuple(np.random.default_rng(seed).integers(0, 200, 3).tolist())
    form = FORMS[suffix][0]
    if form == "SVG":
        drawn = f'<rect width="9" height="9" fill="rgb{colour}"/>'
        return f'<svg xmlns="http://www.w3.org/2000/svg">{drawn}</svg>'.encode()
    image = Image.new("RGB", (40, 40), "white")
    image.paste(colour, (4 + seed, 8, 30, 20 + seed))
    options = {"save_all": True, "append_images": [image]} if form == "MPO" else {}
    return encoded(image, form, **options)


@pytest.fixture(scope="module")
def server(small_world, tmp_path_factory):
    folder = tmp_path_factory.mktemp("formats")
    (folder / "pictures" / "photo").mkdir(parents=True)
    for seed, suffix in enumerate(FORMS):
        (folder / "pictures" / "photo" / f"1.{suffix}").write_bytes(content(suffix, seed))
    Index.build(Catalog.open(folder / "pictures"), Encoder(TinyBackbone()), folder / "f.index")
    with running(folder / "f.index") as server:
        yield server


@pytest.mark.parametrize("suffix", FORMS)
def test_every_format_goes_through_every_door(server, suffix):
    seed = list(FORMS).index(suffix)
    place, item = "/api/v1/collections/f.index", {"id": f"photo/1.{suffix}"}
    original = server.client.get(f"{place}/image", params=item)
    assert (original.status_code, original.headers["content-type"]) == (200, FORMS[suffix][1])
    assert original.content == content(suffix, seed)
    small = server.client.get(f"{place}/thumbnail", params=item)
    assert Image.open(io.BytesIO(small.content)).format == "WEBP"
    answer = server.search(IMAGE, content(suffix, seed), name="f.index")
    assert answer.status_code == 200, answer.text
    assert answer.json()["hits"][0]["id"] == f"photo/1.{suffix}"
    job = server.ended(server.add(content(suffix, seed + 40), name="f.index"))
    assert (job["state"], job["done"]) == ("done", 1), job


def test_uploads_of_every_format_have_names_of_uploads():
    for kind in FORMATS:
        assert is_upload(f"{UPLOADS}/57/57{'a' * 38}{kind.suffixes[0]}"), kind
