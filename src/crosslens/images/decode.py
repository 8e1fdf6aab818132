"""Decode whatever people have into 8-bit RGB, and refuse what would hurt."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from crosslens.images import limits
from crosslens.images.formats import (
    HEAD,
    HEIC,
    JPEG,
    JPEG_2000,
    NAMES,
    PNG,
    RAW,
    SVG,
    TIFF,
    WEBP,
    Format,
    format_of,
)
from crosslens.images.jpeg import jpeg_picture
from crosslens.images.jpeg2000 import jpeg2000_picture
from crosslens.images.orientation import upright
from crosslens.images.picture import DecodeMode, Picture, pillow_picture
from crosslens.images.png import png_picture
from crosslens.images.profiles import to_srgb
from crosslens.images.raw import raw_picture
from crosslens.images.samples import to_eight_bits
from crosslens.images.svg import svg_picture
from crosslens.images.tiff import tiff_picture
from crosslens.images.webp import webp_picture
from crosslens.support.addresses import NOT_READ, is_unread, place_of
from crosslens.support.errors import ImageError
from crosslens.support.members import read_bytes
from crosslens.support.remote import PlaceError, Remote, UnreachableError

REVISION = 2
"""Grows when the pixels of files that were decoded before change; cached features are kept apart by it."""

_CONTRAST = 16
"""Levels of 255 below which a picture on white counts as blank."""


ImageSource = str | Path | Remote | bytes | Image.Image | np.ndarray
"""A picture: a path or another place (``crosslens.support.addresses``), the encoded bytes, a Pillow image, or an
array of pixels ``(H, W)``, ``(H, W, 3)`` or ``(H, W, 4)``, uint8, in sRGB; the fourth channel is opacity."""


def decode(
    source: ImageSource | Picture,
    *,
    mode: DecodeMode = "exact",
    min_side: int = 256,
    max_pixels: int | None = None,
    name: str | None = None,
) -> Image.Image:
    """Decode one image to RGB: upright (EXIF), its colours in sRGB (ICC), any depth scaled to 8 bits.

    Transparency falls on white; a drawing that would vanish there, light strokes on nothing, falls on black.

    Args:
        source: see ``ImageSource``; or what ``open_picture`` gives, which can be decoded once.
        mode: ``exact`` decodes every pixel. ``fast`` lets the JPEG decoder scale by 1/2, 1/4 or 1/8 as long as
            the shorter side stays at least ``min_side``: several times faster on camera pictures, but other
            pixels, hence part of an embedding's fingerprint.
        min_side: shorter side in pixels that ``fast`` keeps.
        max_pixels: limit on width x height, read from the header before anything is decoded; that of
            ``crosslens.images.limits`` by default. ``fast`` takes JPEG of twice as many, which it scales.
        name: what errors call bytes that were read before.

    Returns:
        A Pillow image of mode RGB; the first frame of an animation.

    Raises:
        ImageError: when the file is missing, empty, truncated, too large or no image of ``formats.FORMATS``, or
            for an array of another shape or type.
    """
    if isinstance(source, np.ndarray):
        source = _of_array(source)
    limit = max_pixels or limits.max_pixels()
    if isinstance(source, str | Path | Remote):
        name, source = str(place_of(source)), read_encoded(source)
    name = name or "the image"
    try:
        if isinstance(source, Picture):
            picture = source
        elif isinstance(source, Image.Image):
            picture = pillow_picture(source, None)
        else:
            if not source:
                raise ImageError(f"{name} is empty (0 bytes)")
            kind = format_of(source[:HEAD])
            if kind is None:
                raise ImageError(f"{name} is not an image of the formats that are read: {NAMES}")
            limits.allow(limit)
            picture = _opened(source, kind)
    except Exception as error:
        raise _refused(name, error, limit) from error
    width, height = picture.size
    scaled = limits.SCALED if picture.scales else 1
    if width * height > limit * (scaled if mode == "fast" else 1):
        also = ", and --decode fast takes this one as it is" if width * height <= limit * scaled else ""
        raise ImageError(f"{name} is {width} x {height} pixels, {_too_large(limit)}{also}")
    try:
        pixels = picture.load(mode, min_side)
        return upright(_to_rgb(pixels.image, pixels.profile), pixels.orientation)
    except Exception as error:
        # Damaged files bring out every kind of error from the readers (struct.error, KeyError, …), and one
        # bad file must not end a job of a million.
        raise _refused(name, error, limit) from error


def read_encoded(place: str | Path | Remote) -> bytes:
    """The bytes of a picture, read at once: a file that changes underneath cannot surprise the decoder.

    Raises:
        ImageError: when it is not there or cannot be read.
        UnreachableError: when nothing beside it could be read either, so that going on would skip every picture.
    """
    try:
        return read_bytes(place_of(place))
    except UnreachableError:
        raise
    except PlaceError as error:
        raise ImageError(str(error)) from error
    except FileNotFoundError:
        raise ImageError(f"{place}: {NOT_READ}" if is_unread(place) else f"{place} does not exist") from None
    except PermissionError as error:
        raise ImageError(f"{place} may not be read: permission denied") from error
    except OSError as error:
        # Nothing was decoded yet: the disk or the system is at fault, not the picture.
        raise ImageError(f"{place} cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise ImageError(f"{place} cannot be read: {error}") from error


def _of_array(pixels: np.ndarray) -> Image.Image:
    shape = pixels.shape
    if pixels.dtype != np.uint8 or not (pixels.ndim == 2 or (pixels.ndim == 3 and shape[2] in (3, 4))):
        raise ImageError(
            f"an array of {pixels.dtype} {shape} is no picture; give uint8 of (H, W), (H, W, 3) or (H, W, 4)"
        )
    if not pixels.size:
        raise ImageError(f"an array of {shape} holds no pixel")
    return Image.fromarray(np.ascontiguousarray(pixels))


def open_picture(content: bytes) -> Picture:
    """Read the header of an encoded image: its format and size, told from its content alone.

    Raises:
        ImageError: when it is no image of ``formats.FORMATS``, or its header is damaged.
        PIL.Image.DecompressionBombError: when it is far above every limit that was set.
    """
    kind = format_of(content[:HEAD])
    if kind is None:
        raise ImageError(f"it is none of {NAMES}" if content else "it is empty (0 bytes)")
    return _opened(content, kind)


def _opened(content: bytes, kind: Format) -> Picture:
    try:
        if kind in _OPENERS:
            return _OPENERS[kind](content)
        return pillow_picture(Image.open(io.BytesIO(content), formats=kind.pillow), kind)
    except (ImageError, Image.DecompressionBombError):
        raise
    except Exception as error:
        reason = "" if isinstance(error, UnidentifiedImageError) else f": {error or type(error).__name__}"
        raise ImageError(f"the header of the {kind.name} is damaged{reason}") from error


def _to_rgb(image: Image.Image, profile: bytes | None = None) -> Image.Image:
    """Convert any Pillow mode to RGB: transparency onto white or black, deep samples scaled to 8 bits.

    Args:
        image: of any mode.
        profile: ICC profile of its colours.
    """
    if image.mode == "RGB" and "transparency" not in image.info:
        return to_srgb(image, profile)
    if image.mode.startswith(("I", "F")):
        # Pillow's own conversions clip such values instead of scaling them.
        values = np.asarray(image)
        grey = to_eight_bits(values, 16 if image.mode.startswith("I;16") else None)
        shown = Image.fromarray(grey)
        if isinstance(transparent := image.info.get("transparency"), int):
            shown.putalpha(Image.fromarray(np.where(values == transparent, 0, 255).astype(np.uint8)))
        image = shown
    if image.mode == "La":
        image = image.convert("LA")
    if image.mode in ("RGBA", "LA", "PA", "RGBa") or "transparency" in image.info:
        layer = image.convert("RGBA")
        return _on_ground(to_srgb(layer.convert("RGB"), profile), layer.getchannel("A"))
    if image.mode not in ("L", "CMYK"):
        image = image.convert("RGB")
    return to_srgb(image, profile).convert("RGB")


def _on_ground(colours: Image.Image, alpha: Image.Image) -> Image.Image:
    """Put a transparent picture on white, or on black where nothing of a drawing would be seen on white."""
    opacity = np.asarray(alpha)
    low, high = int(opacity.min()), int(opacity.max())
    if low == 255:
        return colours
    layer = colours.copy()
    layer.putalpha(alpha)
    shown = Image.alpha_composite(Image.new("RGBA", layer.size, (255, 255, 255, 255)), layer).convert("RGB")
    if high - low > _CONTRAST and int(np.asarray(shown).min()) > 255 - _CONTRAST:
        shown = Image.alpha_composite(Image.new("RGBA", layer.size, (0, 0, 0, 255)), layer).convert("RGB")
    return shown


def _open_heic(content: bytes) -> Picture:
    from pillow_heif import HeifImageFile

    return pillow_picture(HeifImageFile(io.BytesIO(content)), HEIC)


def _open_svg(content: bytes) -> Picture:
    return svg_picture(content, _is_small)


def _is_small(content: bytes) -> bool:
    """Whether a picture inside a drawing is within the limit."""
    try:
        width, height = open_picture(content).size
    except Exception:
        return False
    return width * height <= limits.max_pixels()


def _refused(name: str, error: Exception, limit: int) -> ImageError:
    if isinstance(error, Image.DecompressionBombError):
        return ImageError(f"{name} has {_too_large(limit)}")
    if isinstance(error, ImageError) and str(error).startswith(name):
        return error
    return ImageError(f"{name} cannot be decoded: {error or type(error).__name__}")


def _too_large(limit: int) -> str:
    return f"more than the limit of {limit / 1e6:.0f} million; --max-pixels or {limits.VARIABLE} raise it"


_OPENERS: dict[Format, Callable[[bytes], Picture]] = {
    JPEG: jpeg_picture,
    PNG: png_picture,
    WEBP: webp_picture,
    TIFF: tiff_picture,
    JPEG_2000: jpeg2000_picture,
    HEIC: _open_heic,
    SVG: _open_svg,
    RAW: raw_picture,
}
