"""Small pictures in every format, made for tests."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
from PIL import Image


def gradient(width: int = 96, height: int = 64) -> np.ndarray:
    """``(height, width, 3)`` uint8 in which no two sides and no two channels look alike."""
    y, x = np.mgrid[0:height, 0:width]
    channels = (x * 255 // (width - 1), y * 255 // (height - 1), (x + y) * 255 // (width + height - 2))
    return np.stack(channels, -1).astype(np.uint8)


def encoded(image: Image.Image, form: str, **options: object) -> bytes:
    if form == "HEIF":
        import pillow_heif

        buffer = io.BytesIO()
        pillow_heif.from_pillow(image).save(buffer, quality=95, **options)
        return buffer.getvalue()
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def chunk(name: bytes, data: bytes, *, wrong: bool = False) -> bytes:
    """A chunk of a PNG, with a checksum that does not hold where ``wrong``."""
    check = zlib.crc32(name + data) ^ (1 if wrong else 0)
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", check)


def with_chunk(png: bytes, extra: bytes, before: bytes = b"IDAT") -> bytes:
    place = png.index(before) - 4
    return png[:place] + extra + png[place:]


def tiff(values: np.ndarray, **options: object) -> bytes:
    import tifffile

    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as writer:
        writer.write(values, metadata=None, **options)
    return buffer.getvalue()


def profile(primaries: list[tuple[float, float, float]], gamma: float) -> bytes:
    """An ICC profile of a screen: the XYZ (D50) of red, green and blue, and one gamma for all."""

    def xyz(value: tuple[float, float, float]) -> bytes:
        return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(v * 65536) for v in value))

    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256)) + b"\0\0"
    text = b"desc\0\0\0\0" + struct.pack(">I", 5) + b"test\0" + bytes(79)
    text += bytes(-len(text) % 4)
    tags = [(b"desc", text), (b"wtpt", xyz((0.9642, 1.0, 0.8249)))]
    tags += [(name, xyz(value)) for name, value in zip((b"rXYZ", b"gXYZ", b"bXYZ"), primaries, strict=True)]
    tags += [(name, curve) for name in (b"rTRC", b"gTRC", b"bTRC")]
    table, body, start = struct.pack(">I", len(tags)), b"", 128 + 4 + 12 * len(tags)
    for name, data in tags:
        table += name + struct.pack(">II", start + len(body), len(data))
        body += data
    head = struct.pack(">I4sI4s4s4s", start + len(body), b"none", 0x02400000, b"mntr", b"RGB ", b"XYZ ")
    head += bytes(12) + b"acsp" + bytes(28) + struct.pack(">3i", 63190, 65536, 54061)
    return head.ljust(128, b"\0") + table + body


SRGB = [(0.4361, 0.2225, 0.0139), (0.3851, 0.7169, 0.0971), (0.1431, 0.0606, 0.7141)]
