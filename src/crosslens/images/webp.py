"""WebP beyond what Pillow takes: files whose container is damaged, but whose pixels are whole."""

from __future__ import annotations

import io

from PIL import Image

from crosslens.images.formats import WEBP
from crosslens.images.picture import Picture, pillow_picture

_PIXELS = (b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ANIM", b"ANMF")
_HEAD = 12


def webp_picture(content: bytes) -> Picture:
    """Open a WebP, or the first picture of an animation. Only what holds the pixels has to be whole.

    Raises:
        Exception: of any kind, when the header is damaged or pixels are missing.
    """
    try:
        image = Image.open(io.BytesIO(content), formats=WEBP.pillow)
    except Image.DecompressionBombError:
        raise
    except Exception:
        image = Image.open(io.BytesIO(_cleaned(content)), formats=WEBP.pillow)
    return pillow_picture(image, WEBP)


def _cleaned(content: bytes) -> bytes:
    """The file with the size that it has, and without a side chunk that is cut off."""
    kept = b""
    place = _HEAD
    while place + 8 <= len(content):
        stop = place + 8 + int.from_bytes(content[place + 4 : place + 8], "little")
        if content[place : place + 4] not in _PIXELS and stop > len(content):
            break
        # A chunk of odd length is followed by one more byte, which says nothing.
        kept += content[place:stop] + b"\0" * (stop % 2)
        place = stop + stop % 2
    return b"RIFF" + (len(kept) + 4).to_bytes(4, "little") + b"WEBP" + kept
