from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from crosslens.images import formats
from crosslens.images.decode import decode, open_picture
from crosslens.images.formats import FILM_SUFFIXES, FORMATS, HEAD, SUFFIXES, UNREAD_SUFFIXES, format_of
from crosslens.support.errors import ImageError
from testing.picture_files import encoded, gradient

PICTURE = Image.fromarray(gradient())
CONTENT = {
    "JPEG": (formats.JPEG, encoded(PICTURE, "JPEG", quality=98)),
    "MPO": (formats.JPEG, encoded(PICTURE, "MPO", save_all=True, append_images=[PICTURE], quality=98)),
    "PNG": (formats.PNG, encoded(PICTURE, "PNG")),
    "APNG": (formats.PNG, encoded(PICTURE, "PNG", save_all=True, append_images=[PICTURE.rotate(180)])),
    "WebP": (formats.WEBP, encoded(PICTURE, "WEBP", lossless=True)),
    "GIF": (formats.GIF, encoded(PICTURE.quantize(256), "GIF")),
    "BMP": (formats.BMP, encoded(PICTURE, "BMP")),
    "DIB": (formats.BMP, encoded(PICTURE, "DIB")),
    "TIFF": (formats.TIFF, encoded(PICTURE, "TIFF")),
    "BigTIFF": (formats.TIFF, encoded(PICTURE, "TIFF", big_tiff=True)),
    "PPM": (formats.PNM, encoded(PICTURE, "PPM")),
    "plain PPM": (
        formats.PNM,
        b"P3\n96 64 255\n" + " ".join(map(str, gradient().ravel().tolist())).encode(),
    ),
    "HEIC": (formats.HEIC, encoded(PICTURE, "HEIF")),
    "AVIF": (formats.AVIF, encoded(PICTURE, "AVIF", quality=95)),
    "JPEG 2000": (formats.JPEG_2000, encoded(PICTURE, "JPEG2000")),
    "JPEG 2000 codestream": (formats.JPEG_2000, encoded(PICTURE, "JPEG2000", no_jp2=True)),
    "ICO": (formats.ICO, encoded(PICTURE, "ICO", sizes=[(96, 64)])),
}


@pytest.mark.parametrize("kind", CONTENT)
def test_every_format_is_told_opened_and_decoded(kind: str) -> None:
    expected, content = CONTENT[kind]
    assert format_of(content[:HEAD]) is expected
    picture = open_picture(content)
    assert (picture.format, picture.size) == (expected, (96, 64))
    off = np.abs(np.asarray(decode(content)).astype(int) - gradient()).mean()
    assert off <= (0 if kind not in ("JPEG", "MPO", "GIF", "HEIC", "AVIF") else 4)


@pytest.mark.parametrize("kind", CONTENT)
def test_the_limit_is_read_from_every_header(kind: str) -> None:
    with pytest.raises(ImageError, match="more than the limit"):
        decode(CONTENT[kind][1], max_pixels=96 * 64 - 1)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("kind", CONTENT)
def test_damage_raises_nothing_but_image_errors(kind: str) -> None:
    content = CONTENT[kind][1]
    rng = np.random.default_rng(0)
    for _ in range(30):
        damaged = bytearray(content)
        for place in rng.integers(0, min(len(content), 400), 4):
            damaged[place] = rng.integers(0, 256)
        for cut in (damaged, damaged[: int(rng.integers(1, len(damaged)))]):
            try:
                assert decode(bytes(cut), max_pixels=1_000_000).mode == "RGB"
            except ImageError:
                continue


def test_the_list_is_one_and_says_each_thing_once() -> None:
    suffixes = [suffix for kind in FORMATS for suffix in kind.suffixes]
    assert len(suffixes) == len(set(suffixes))
    assert all(suffix == suffix.lower() and suffix.startswith(".") for suffix in suffixes)
    assert not SUFFIXES & UNREAD_SUFFIXES
    assert not FILM_SUFFIXES & (SUFFIXES | UNREAD_SUFFIXES)
    assert {".jpe", ".mpo", ".apng", ".pnm", ".pbm", ".heic", ".avif", ".jp2", ".svg", ".ico"} <= SUFFIXES
    assert {".psd", ".eps", ".pdf", ".jxl", ".tga"} <= UNREAD_SUFFIXES


@pytest.mark.parametrize(
    "content",
    [
        b"%!PS-Adobe-3.0 EPSF-3.0\n",
        b"%PDF-1.7\n",
        b"8BPS\0\1",
        b"\xff\x0a" + bytes(40),
        b"PK\3\4",
        b"<html>",
        b"",
        b"P5x",
        b"\0\0\0\x18ftypmp42" + bytes(40),
    ],
)
def test_what_is_not_read_is_told_to_be_nothing(content: bytes) -> None:
    assert format_of(content) is None


@pytest.mark.parametrize("head", [b"P7\nWIDTH 1\n", b"PF\n1 1\n-1.0\n"])
def test_portable_maps_of_kinds_that_are_not_read(head: bytes) -> None:
    with pytest.raises(ImageError, match="not an image of the formats that are read"):
        decode(head + bytes(99))
