"""JPEG 2000 beyond what Pillow takes: colours of more than 8 bits, whose brightest values it turns to black."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from crosslens.images.formats import JPEG_2000
from crosslens.images.picture import DecodeMode, Picture, Pixels, load_pillow
from crosslens.images.samples import to_eight_bits

_SIZES = b"\xff\x4f\xff\x51"
_COMPONENTS = 40
"""Bytes from the start of the codestream to the number of components; three bytes for each of them follow."""
_SYCC = b"colr\x01\0\0\0\0\0\x12"
"""Luminance and colour differences, which Pillow turns into RGB."""


def jpeg2000_picture(content: bytes) -> Picture:
    """Open a JPEG 2000.

    Raises:
        Exception: of any kind, when the header is damaged.
    """
    image = Image.open(io.BytesIO(content), formats=JPEG_2000.pillow)
    bits = _bits(content)

    def load(mode: DecodeMode, min_side: int) -> Pixels:
        if image.mode not in ("LA", "RGB", "RGBA") or bits <= 8 or _SYCC in content:
            return load_pillow(image)
        return Pixels(_deep(content, bits), profile=image.info.get("icc_profile"))

    return Picture(JPEG_2000, image.size, load)


def _bits(content: bytes) -> int:
    """Bits of the deepest component, as the codestream declares them; 8 where it cannot be found."""
    start = content.find(_SIZES)
    if start < 0:
        return 8
    place = start + _COMPONENTS
    number = int.from_bytes(content[place : place + 2], "big")
    depths = content[place + 2 : place + 2 + 3 * min(number, 4) : 3]
    return max((depth & 0x7F for depth in depths), default=7) + 1


def _deep(content: bytes, bits: int) -> Image.Image:
    import imagecodecs

    values = np.asarray(imagecodecs.jpeg2k_decode(content))
    layers = values.shape[2] - (values.shape[2] % 2 == 0)
    colours = Image.fromarray(to_eight_bits(values[..., :layers], bits).squeeze())
    if values.shape[2] > layers:
        colours.putalpha(Image.fromarray((values[..., layers] >> (bits - 8)).astype(np.uint8)))
    return colours
