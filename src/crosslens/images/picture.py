"""A picture that was opened but not decoded yet, and what decoding gives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image

from crosslens.images.formats import Format
from crosslens.images.orientation import orientation_of

DecodeMode = Literal["exact", "fast"]

# Everywhere else a channel that makes every pixel invisible was never filled in.
_MEANS_ALPHA = (None, "PNG", "WEBP", "GIF", "AVIF", "HEIF")


@dataclass(frozen=True)
class Pixels:
    """Decoded pixels with what is to be done to them.

    Attributes:
        image: 8 bits a channel, or a mode that Pillow converts from.
        orientation: EXIF's, 1 to 8.
        profile: the ICC profile of its colours.
    """

    image: Image.Image
    orientation: int = 1
    profile: bytes | None = None


@dataclass(frozen=True)
class Picture:
    """A picture whose header was read.

    Attributes:
        format: its format, told from its content; None for an image that was opened elsewhere.
        size: width and height in pixels, before it is set upright.
        load: decodes it; takes the mode and the shorter side that ``fast`` keeps.
        scales: whether ``fast`` decodes fewer pixels.
    """

    format: Format | None
    size: tuple[int, int]
    load: Callable[[DecodeMode, int], Pixels]
    scales: bool = False


def pillow_picture(image: Image.Image, kind: Format | None) -> Picture:
    """An image as ``PIL.Image.open`` gives it; of these JPEG alone is scaled by ``fast``."""

    def load(mode: DecodeMode, min_side: int) -> Pixels:
        if mode == "fast":
            image.draft("RGB", _scaled(image.size, min_side))
        return load_pillow(image)

    return Picture(kind, image.size, load, scales=image.format in ("JPEG", "MPO"))


def load_pillow(image: Image.Image) -> Pixels:
    """Decode an image that Pillow opened, and read its orientation and profile."""
    # Where the pixels are still to be decoded, this tells how they are stored.
    tiles = getattr(image, "tile", None)
    stored = tiles[0].args if tiles else None
    image.load()
    transparent = image.info.get("transparency")
    levels = {"L;2": 3, "L;4": 15, "L": 255}.get(stored) if isinstance(stored, str) else None
    if levels and isinstance(transparent, int):
        # The value is in the file's units, of which the low bits alone count; the pixels are scaled to 8 bits.
        image.info["transparency"] = (transparent & levels) * 255 // levels
    orientation, profile = orientation_of(image), image.info.get("icc_profile")
    if image.format not in _MEANS_ALPHA:
        image = without_empty_alpha(image)
    return Pixels(image, orientation, profile)


def without_empty_alpha(image: Image.Image) -> Image.Image:
    """An image whose alpha channel is 0 everywhere becomes opaque; any other stays as it is."""
    if image.mode in ("RGBA", "LA") and np.asarray(image.getchannel("A")).max(initial=0) == 0:
        return image.convert(image.mode[:-1])
    return image


def _scaled(size: tuple[int, int], min_side: int) -> tuple[int, int]:
    scale = min_side / min(size)
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
