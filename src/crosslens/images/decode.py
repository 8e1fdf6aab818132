"""Decode whatever people have into 8-bit RGB, and refuse what would hurt."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from crosslens.errors import ImageError

DecodeMode = Literal["exact", "fast"]

# EPS, PDF, FPX and the like run interpreters or macros; they are never opened.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
MAX_PIXELS = 89_478_485
"""Largest width x height that is decoded (Pillow's own bomb limit)."""

# Our limit below is an error and at most Pillow's warning limit, so its warning would only repeat it.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


def decode(
    source: str | Path | bytes | Image.Image,
    *,
    mode: DecodeMode = "exact",
    min_side: int = 256,
    max_pixels: int = MAX_PIXELS,
) -> Image.Image:
    """Decode one image to RGB, upright (EXIF), transparency on white, 16-bit and CMYK converted.

    Args:
        source: a path, the encoded bytes, or a Pillow image.
        mode: ``exact`` decodes every pixel. ``fast`` lets the JPEG decoder scale by 1/2, 1/4 or 1/8 as long as
            the shorter side stays at least ``min_side``: several times faster on camera pictures, but other
            pixels, hence part of an embedding's fingerprint.
        min_side: shorter side in pixels that ``fast`` keeps.
        max_pixels: limit on width x height, read from the header before anything is decoded.

    Returns:
        A Pillow image of mode RGB; the first frame of an animation.

    Raises:
        ImageError: when the file is missing, empty, truncated, too large or no image of ``FORMATS``.
    """
    name = "the image" if isinstance(source, bytes | Image.Image) else str(source)
    try:
        image = source if isinstance(source, Image.Image) else _open(source)
        width, height = image.size
        if width * height > max_pixels:
            raise ImageError(
                f"{name} is {width} x {height} pixels, more than the limit of {max_pixels / 1e6:.0f} million"
            )
        if mode == "fast":
            image.draft("RGB", _scaled_size(width, height, min_side))
        image.load()
        return to_rgb(_upright(image))
    except ImageError:
        raise
    except FileNotFoundError:
        raise ImageError(f"{name} does not exist") from None
    except UnidentifiedImageError:
        raise ImageError(f"{name} is not an image ({', '.join(FORMATS)})") from None
    except Image.DecompressionBombError:
        raise ImageError(f"{name} has more pixels than the limit of {max_pixels / 1e6:.0f} million") from None
    except Exception as error:
        # Damaged files bring out every kind of error from Pillow's plugins (struct.error, KeyError, …), and one
        # bad file must not end a job of a million.
        raise ImageError(f"{name} cannot be decoded: {error or type(error).__name__}") from error


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert any Pillow mode to RGB: transparency onto white, 16-bit and float grey scaled to 8 bits."""
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith(("I", "F")):
        # Pillow's own conversions clip such values instead of scaling them.
        values = np.asarray(image)
        grey = _to_eight_bits(values)
        if isinstance(transparent := image.info.get("transparency"), int):
            grey[values == transparent] = 255
        return Image.fromarray(grey).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "RGBa") or "transparency" in image.info:
        layer = image.convert("RGBA")
        canvas = Image.new("RGBA", layer.size, (255, 255, 255, 255))
        return Image.alpha_composite(canvas, layer).convert("RGB")
    return image.convert("RGB")


def _upright(image: Image.Image) -> Image.Image:
    try:
        upright = image.getexif().get(ExifTags.Base.Orientation, 1) == 1
        return image if upright else ImageOps.exif_transpose(image)
    except Exception:
        # A damaged EXIF block says nothing about the pixels, which are fine by now.
        return image


def _open(source: str | Path | bytes) -> Image.Image:
    if isinstance(source, bytes):
        if not source:
            raise ImageError("the image is empty (0 bytes)")
        return Image.open(io.BytesIO(source), formats=FORMATS)
    # Read at once: the file is closed again, and a path that changes underneath cannot surprise the decoder.
    content = Path(source).read_bytes()
    if not content:
        raise ImageError(f"{source} is empty (0 bytes)")
    return Image.open(io.BytesIO(content), formats=FORMATS)


def _scaled_size(width: int, height: int, min_side: int) -> tuple[int, int]:
    scale = min_side / min(width, height)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _to_eight_bits(values: np.ndarray) -> np.ndarray:
    """Map (H, W) integers of 16 bits, or floats in [0, 1] or [0, 255], to uint8."""
    if values.dtype.kind == "f":
        finite = np.nan_to_num(values.astype(np.float32), posinf=255.0, neginf=0.0)
        scale = 255.0 if finite.size and float(finite.max()) <= 1.0 else 1.0
        return np.clip(np.rint(finite * scale), 0, 255).astype(np.uint8)
    return np.asarray(np.clip(values, 0, 65535).astype(np.uint32) // 257, dtype=np.uint8)
