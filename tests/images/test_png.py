from __future__ import annotations

import struct
import zlib

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from crosslens.images.decode import decode
from crosslens.support.errors import ImageError
from testing.picture_files import chunk, encoded, gradient, with_chunk

COLOUR = gradient()
GREY = COLOUR[..., 2]
SOUND = encoded(Image.fromarray(COLOUR), "PNG")


def pixels(content: bytes) -> np.ndarray:
    return np.asarray(decode(content)).astype(int)


SIDE_CHUNKS = {
    "zTXt of 1.5 MB": chunk(b"zTXt", b"a\0\0" + zlib.compress(b"x" * 1_500_000)),
    "iTXt of 1.5 MB": chunk(b"iTXt", b"a\0\1\0\0\0" + zlib.compress(b"x" * 1_500_000)),
    "iCCP of 3 MB": chunk(b"iCCP", b"a\0\0" + zlib.compress(b"x" * 3_000_000)),
    "tEXt of 70 MB": chunk(b"tEXt", b"a\0" + b"x" * 70_000_000),
    "short tRNS": chunk(b"tRNS", b"\0"),
    "short gAMA": chunk(b"gAMA", b"\0"),
    "short pHYs": chunk(b"pHYs", b"\0"),
    "short cHRM": chunk(b"cHRM", b"\0\0"),
    "empty sRGB": chunk(b"sRGB", b""),
    "wrong checksum of tEXt": chunk(b"tEXt", b"a\0b", wrong=True),
    "wrong checksum of gAMA": chunk(b"gAMA", b"\0\0\1\1", wrong=True),
    "wrong checksum of an unknown chunk": chunk(b"abCd", b"12345", wrong=True),
    "EXIF of junk": chunk(b"eXIf", b"junk"),
    "short acTL": chunk(b"acTL", b"\0"),
    "junk as a profile": chunk(b"iCCP", b"a\0\0junk"),
}


@pytest.mark.parametrize("before", [b"IDAT", b"IEND"])
@pytest.mark.parametrize("kind", SIDE_CHUNKS)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_side_chunks_do_not_decide_about_pixels(kind: str, before: bytes) -> None:
    assert np.array_equal(pixels(with_chunk(SOUND, SIDE_CHUNKS[kind], before)), COLOUR)


def test_what_is_seen_survives_beside_a_damaged_chunk() -> None:
    red = Image.new("RGB", (2, 1), (255, 0, 0))
    red.putpixel((1, 0), (0, 255, 0))
    keyed = encoded(red, "PNG", transparency=(255, 0, 0))
    damaged = with_chunk(keyed, SIDE_CHUNKS["wrong checksum of gAMA"])
    assert pixels(damaged)[0].tolist() == [[255, 255, 255], [0, 255, 0]]


def test_a_damaged_png_is_called_one() -> None:
    ends = bytearray(SOUND)
    ends[16:20] = b"\0\0\0\0"  # no width
    with pytest.raises(ImageError, match="PNG") as caught:
        decode(bytes(ends))
    assert "not an image" not in str(caught.value)


def keyed_grey(bits: int, transparent: int, above: int = 0) -> tuple[bytes, np.ndarray]:
    """A grey PNG of every value at ``bits``, one of them transparent, and how it looks.

    The key is written in 16 bits, of which those ``above`` the depth do not count.
    """
    levels = np.arange(2**bits, dtype=np.uint8)
    rows = np.tile(levels, (2, 16 // bits))
    packed = np.packbits(np.unpackbits(rows[..., None], axis=2)[..., 8 - bits :].reshape(2, -1), axis=1)
    data = zlib.compress(b"".join(b"\0" + row.tobytes() for row in packed))
    head = struct.pack(">IIBBBBB", rows.shape[1], 2, bits, 0, 0, 0, 0)
    body = (
        chunk(b"IHDR", head)
        + chunk(b"tRNS", struct.pack(">H", transparent | above << bits))
        + chunk(b"IDAT", data)
    )
    shown = rows.astype(int) * 255 // (2**bits - 1)
    return b"\x89PNG\r\n\x1a\n" + body + chunk(b"IEND", b""), np.where(rows == transparent, 255, shown)


@pytest.mark.parametrize(
    ("bits", "key"), [(1, 1), *((b, k) for b in (2, 4, 8) for k in (0, 1, 2**b // 3, 2**b - 2, 2**b - 1))]
)
def test_transparent_grey_of_every_depth(bits: int, key: int) -> None:
    for above in (0, 1):
        content, wanted = keyed_grey(bits, key, above)
        assert np.array_equal(pixels(content)[..., 0], wanted)


def test_an_image_that_was_opened_elsewhere_is_keyed_too() -> None:
    import io

    content, wanted = keyed_grey(4, 5)
    opened = Image.open(io.BytesIO(content))
    for _ in range(2):
        assert np.array_equal(np.asarray(decode(opened))[..., 0], wanted)


@pytest.mark.parametrize("bits", [8, 10, 12, 16])
@pytest.mark.parametrize("shape", ["grey", "RGB", "RGBA"])
def test_sixteen_bits_hold_pictures_of_fewer(bits: int, shape: str) -> None:
    values = np.rint(COLOUR / 255 * (2**bits - 1)).astype(np.uint16)
    if shape == "grey":
        values = np.ascontiguousarray(values[..., 2])
    elif shape == "RGBA":
        values = np.dstack([values, np.full(GREY.shape, 65535, np.uint16)])
    shown = pixels(imagecodecs.png_encode(values))
    assert np.abs(shown - (GREY[..., None] if shape == "grey" else COLOUR)).max() <= 1


def test_declared_significant_bits_are_the_range() -> None:
    values = np.rint(GREY / 255 * (2**14 - 1)).astype(np.uint16)
    plain = imagecodecs.png_encode(values)
    declared = with_chunk(plain, chunk(b"sBIT", b"\x0e"))
    assert np.abs(pixels(declared)[..., 0] - GREY).max() <= 1
    assert np.abs(pixels(plain)[..., 0] - GREY / 4).max() <= 1


def test_values_scaled_up_from_the_declared_bits_stay_as_they_are() -> None:
    content = with_chunk(imagecodecs.png_encode(GREY.astype(np.uint16) * 257), chunk(b"sBIT", b"\x08"))
    assert np.array_equal(pixels(content)[..., 0], GREY)


def test_a_dark_sixteen_bit_picture_stays_dark() -> None:
    values = np.minimum(GREY.astype(np.uint16) * 40, 10_000)
    assert pixels(imagecodecs.png_encode(values)).max() <= 40


def test_transparent_colour_of_sixteen_bits() -> None:
    values = np.zeros((2, 3, 3), np.uint16)
    values[:] = (1000, 2000, 3000)
    values[0, 1] = (1001, 2000, 3000)  # the same upper bytes
    values[1, 2] = 65535
    key = chunk(b"tRNS", struct.pack(">HHH", 1000, 2000, 3000))
    shown = pixels(with_chunk(imagecodecs.png_encode(values), key))
    assert shown[0, 0].tolist() == [255, 255, 255]
    assert shown[0, 1].tolist() == [4, 8, 12]


@pytest.mark.parametrize("shape", ["grey", "RGB"])
def test_truncated_deep_files_are_refused(shape: str) -> None:
    values = np.random.default_rng(0).integers(0, 65536, (64, 64, 3), dtype=np.uint16)
    content = imagecodecs.png_encode(values if shape == "RGB" else np.ascontiguousarray(values[..., 0]))
    with pytest.raises(ImageError, match="cannot be decoded"):
        decode(content[: len(content) // 2])
