"""JPEG beyond what Pillow takes: files without their end or with damaged side segments, and 12 bits a sample."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import suppress

import numpy as np
from PIL import Image, UnidentifiedImageError

from crosslens.images.formats import JPEG
from crosslens.images.picture import DecodeMode, Picture, Pixels, pillow_picture
from crosslens.images.samples import to_eight_bits
from crosslens.support.errors import ImageError

_END = b"\xff\xd9"
# What may lie between a scan and the next one: tables, another scan, a number of lines, a comment.
_BETWEEN_SCANS = (0xC4, 0xDA, 0xDB, 0xDC, 0xDD, 0xFE)
_SIDE = range(0xE0, 0xF0)
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_MARKER = re.compile(rb"\xff+[^\x00\xff\xd0-\xd7]")
_FILLINGS = (b"\x00", b"\x55\xa9")
_FILLED = 4096


def jpeg_picture(content: bytes) -> Picture:
    """Open a JPEG, also the first picture of an MPO.

    Raises:
        Exception: of any kind, when the header is damaged.
    """
    try:
        image = Image.open(io.BytesIO(content), formats=JPEG.pillow[:1])
    except UnidentifiedImageError:
        frame = _frame(content)
        if frame is None:
            raise
        if frame[0] != 8:
            return Picture(JPEG, frame[1:], lambda mode, min_side: Pixels(_deep(content, frame[0])))
        content = _cleaned(content)
        image = Image.open(io.BytesIO(content), formats=JPEG.pillow[:1])

    def load(mode: DecodeMode, min_side: int) -> Pixels:
        try:
            return opened.load(mode, min_side)
        except OSError:
            return pillow_picture(_completed(content), JPEG).load(mode, min_side)

    opened = pillow_picture(image, JPEG)
    return Picture(JPEG, opened.size, load, scales=True)


def _cleaned(content: bytes) -> bytes:
    """The file without those kinds of side segments (APP0 to APP15) that alone keep it from being opened."""
    side: dict[int, list[bytes]] = {}
    head, rest = bytearray(content[:2]), 2
    for marker, start, stop in _segments(content):
        if marker == 0xDA:
            break
        segment = content[start - 4 : stop]
        if marker in _SIDE:
            side.setdefault(marker, []).append(segment)
        else:
            head += segment
        rest = stop
    tail = content[rest:]
    kept = b""
    for segments in side.values():
        tried = kept + b"".join(segments)
        with suppress(UnidentifiedImageError):
            Image.open(io.BytesIO(head[:2] + tried + head[2:] + tail), formats=JPEG.pillow[:1])
            kept = tried
    return bytes(head[:2]) + kept + bytes(head[2:]) + tail


def _completed(content: bytes) -> Image.Image:
    """The picture of a file whose end marker is missing or overwritten.

    All pixels are there if and only if they do not depend on what is put in the place of the missing end.

    Raises:
        OSError: when pixels are missing.
    """
    whole = content[: _end_of_scans(content)].rstrip(b"\xff")
    opened = [
        Image.open(io.BytesIO(whole + filling * _FILLED + _END), formats=JPEG.pillow[:1]) for filling in _FILLINGS
    ]
    first, second = (np.asarray(image) for image in opened)
    if not np.array_equal(first, second):
        raise OSError("image file is truncated")
    return Image.open(io.BytesIO(whole + _END), formats=JPEG.pillow[:1])


def _end_of_scans(content: bytes) -> int:
    """Where the last scan of the first picture ends."""
    end = 0
    for marker, _, stop in _segments(content):
        if marker == 0xDA:
            found = _MARKER.search(content, stop)
            end = found.start() if found else len(content)
        elif stop > len(content) or (end and marker not in _BETWEEN_SCANS):
            break
    return end or len(content)


def _segments(content: bytes) -> Iterator[tuple[int, int, int]]:
    """Marker, start of the data and end of each segment from the beginning; scans' data is passed over."""
    place = 2
    while place + 4 <= len(content) and content[place] == 0xFF:
        marker = content[place + 1]
        if marker == 0xFF:
            place += 1
            continue
        stop = place + 2 + int.from_bytes(content[place + 2 : place + 4], "big")
        yield marker, place + 4, stop
        if marker == 0xDA:
            found = _MARKER.search(content, stop)
            if found is None:
                return
            stop = found.end() - 2
        place = stop


def _frame(content: bytes) -> tuple[int, int, int] | None:
    """Bits a sample, width and height from the frame header."""
    for marker, start, stop in _segments(content):
        if marker in _FRAMES and stop <= len(content):
            height = int.from_bytes(content[start + 1 : start + 3], "big")
            return content[start], int.from_bytes(content[start + 3 : start + 5], "big"), height
    return None


def _deep(content: bytes, bits: int) -> Image.Image:
    import imagecodecs

    values = np.asarray(imagecodecs.jpeg_decode(content))
    if values.ndim == 3 and values.shape[2] not in (1, 3):
        raise ImageError(f"JPEG with {values.shape[2]} channels of {bits} bits is not read")
    return Image.fromarray(to_eight_bits(values.squeeze(), bits))
