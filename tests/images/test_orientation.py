from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from PIL import Image

from crosslens.images.decode import decode
from testing.picture_files import encoded, gradient

COLOUR = gradient()
TURN = {
    1: lambda upright: upright,
    2: np.fliplr,
    3: lambda upright: np.rot90(upright, 2),
    4: np.flipud,
    5: lambda upright: np.transpose(upright, (1, 0, 2)),
    6: np.rot90,
    7: lambda upright: np.transpose(np.rot90(upright, 2), (1, 0, 2)),
    8: lambda upright: np.rot90(upright, -1),
}
"""What a camera stored, by the tag that undoes it."""
ASCII, BYTE, SHORT, LONG, RATIONAL, SBYTE, UNDEFINED, SSHORT, SLONG, SRATIONAL, FLOAT, DOUBLE = (
    *(2, 1, 3, 4, 5, 6),
    *(7, 8, 9, 10, 11, 12),
)


def block(orientation: tuple[int, int, bytes], *others: tuple[int, int, int, bytes], order: str = "<") -> bytes:
    """An EXIF block of one directory, whatever its entries are: tag, type, count and the four bytes of a value."""
    entries = sorted([(0x0112, *orientation), *others])
    head = (b"II" if order == "<" else b"MM") + struct.pack(order + "HIH", 42, 8, len(entries))
    body = b"".join(struct.pack(order + "HHI", *entry[:3]) + entry[3][:4].ljust(4, b"\0") for entry in entries)
    return b"Exif\0\0" + head + body + bytes(4) + bytes(range(64))


SIX = (SHORT, 1, b"\6\0")
FAR = struct.pack("<I", 100_000)
NEAR = struct.pack("<I", 80)
NEIGHBOURS = {
    "XResolution as ASCII": (0x011A, ASCII, 4, b"72\0\0"),
    "XResolution as UNDEFINED": (0x011A, UNDEFINED, 4, b"abcd"),
    "XResolution as BYTE": (0x011A, BYTE, 1, b"\x48"),
    "XResolution as SHORT": (0x011A, SHORT, 1, b"\x48\0"),
    "XResolution beyond the end": (0x011A, RATIONAL, 1, FAR),
    "YResolution as FLOAT": (0x011B, FLOAT, 1, struct.pack("<f", 72)),
    "ResolutionUnit as ASCII": (0x0128, ASCII, 2, b"2\0"),
    "two ResolutionUnits": (0x0128, SHORT, 2, b"\2\0\2\0"),
    "Make as RATIONAL": (0x010F, RATIONAL, 1, NEAR),
    "Make as SHORT": (0x010F, SHORT, 1, b"\1\0"),
    "Make beyond the end": (0x010F, ASCII, 40, FAR),
    "Make of no length": (0x010F, ASCII, 0, b""),
    "Model as UNDEFINED": (0x0110, UNDEFINED, 4, b"\xff\xfe\xfd\xfc"),
    "Software of any bytes": (0x0131, ASCII, 4, b"\xe9\xff\x80\x81"),
    "DateTime as LONG": (0x0132, LONG, 1, b"\1\2\3\4"),
    "YCbCrPositioning -1": (0x0213, SSHORT, 1, b"\xff\xff"),
    "YCbCrPositioning as LONG 2^31": (0x0213, SLONG, 1, b"\0\0\0\x80"),
    "YCbCrSubSampling of one": (0x0212, SHORT, 1, b"\2\0"),
    "RATIONAL 0/0": (0x013E, RATIONAL, 1, struct.pack("<I", 300)),
    "SRATIONAL": (0x9204, SRATIONAL, 1, NEAR),
    "DOUBLE": (0xC62B, DOUBLE, 1, NEAR),
    "SBYTE": (0x9999, SBYTE, 4, b"\x80\x80\x80\x80"),
    "unknown type 0": (0x9998, 0, 1, b"abcd"),
    "unknown type 99": (0x9998, 99, 1, b"abcd"),
    "huge count": (0x9997, SHORT, 0xFFFFFFFF, NEAR),
    "ExifIFD beyond the end": (0x8769, LONG, 1, FAR),
    "ExifIFD as ASCII": (0x8769, ASCII, 4, b"abcd"),
    "ExifIFD into itself": (0x8769, LONG, 1, struct.pack("<I", 8)),
    "GPSIFD beyond the end": (0x8825, LONG, 1, FAR),
    "GPSIFD as UNDEFINED": (0x8825, UNDEFINED, 4, b"abcd"),
    "StripOffsets": (0x0111, LONG, 1, NEAR),
}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("neighbour", NEIGHBOURS)
def test_no_neighbour_costs_the_orientation(neighbour: str, form: str) -> None:
    stored = Image.fromarray(np.ascontiguousarray(TURN[6](COLOUR)))
    options = {"quality": 98} if form != "PNG" else {}
    content = encoded(stored, form, exif=block(SIX, NEIGHBOURS[neighbour]), **options)
    shown = decode(content)
    assert shown.size == (96, 64)
    assert np.abs(np.asarray(shown).astype(int) - COLOUR).mean() <= 2


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    "typed",
    [
        (BYTE, 1, b"\6"),
        (ASCII, 2, b"6\0"),
        (UNDEFINED, 1, b"\6"),
        (LONG, 1, b"\6\0\0\0"),
        (SSHORT, 1, b"\6\0"),
        (SLONG, 1, b"\6\0\0\0"),
        (SHORT, 2, b"\6\0\6\0"),
        (FLOAT, 1, struct.pack("<f", 6)),
    ],
)
def test_the_value_counts_whatever_its_type(typed: tuple[int, int, bytes]) -> None:
    stored = Image.fromarray(np.ascontiguousarray(TURN[6](COLOUR)))
    shown = decode(encoded(stored, "JPEG", quality=98, exif=block(typed)))
    assert shown.size == (96, 64)


@pytest.mark.parametrize("value", [0, 9, 600])
def test_a_value_that_is_none_turns_nothing(value: int) -> None:
    shown = decode(encoded(Image.fromarray(COLOUR), "PNG", exif=block((SHORT, 1, struct.pack("<H", value)))))
    assert np.array_equal(np.asarray(shown), COLOUR)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_every_orientation_in_every_format(form: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.ascontiguousarray(TURN[orientation](COLOUR)))
    options = {"quality": 98} if form not in ("PNG", "TIFF") else {}
    shown = np.asarray(decode(encoded(stored, form, exif=exif, **options)))
    assert shown.shape == COLOUR.shape
    assert np.abs(shown.astype(int) - COLOUR).mean() <= 3


@pytest.mark.parametrize("orientation", range(1, 9))
def test_heic_is_turned_once(orientation: int) -> None:
    import pillow_heif

    pillow_heif.register_heif_opener()
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.ascontiguousarray(TURN[orientation](COLOUR)))
    buffer = io.BytesIO()
    stored.save(buffer, "HEIF", quality=98, exif=exif.tobytes())  # the plugin writes the turn as HEIC does
    shown = np.asarray(decode(buffer.getvalue()))
    assert shown.shape == COLOUR.shape
    assert np.abs(shown.astype(int) - COLOUR).mean() <= 3
