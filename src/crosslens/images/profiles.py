"""ICC profiles: colours as they were meant, in sRGB."""

from __future__ import annotations

import io
from functools import lru_cache

import numpy as np
from PIL import Image, ImageCms

_SPACES = {"RGB ": "RGB", "GRAY": "L", "CMYK": "CMYK"}
_MOST = 16 << 20
_NEAR = 2
"""Levels of 255 up to which a profile counts as sRGB itself: its pixels stay as they are."""


def to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Bring an opaque picture from its ICC profile's colours to sRGB.

    Args:
        image: of mode L, RGB or CMYK.
        profile: the ICC profile that came with it.

    Returns:
        An RGB image; the same image where there is no profile, or one that cannot be read, is made for another
        kind of picture, or is sRGB.
    """
    if not profile or len(profile) > _MOST:
        return image
    space, transform = _transform(bytes(profile))
    if transform is None or (space != image.mode and not (space == "RGB" and image.mode == "L")):
        return image
    if space != image.mode:
        image = image.convert("RGB")
    try:
        return ImageCms.applyTransform(image, transform) or image
    except ImageCms.PyCMSError:
        return image


@lru_cache(maxsize=32)
def _transform(profile: bytes) -> tuple[str, ImageCms.ImageCmsTransform | None]:
    """The mode a profile is for, and the transform to sRGB; None where nothing is to be done."""
    try:
        opened = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        space = _SPACES.get(opened.profile.xcolor_space, "")
        if not space:
            return "", None
        transform = ImageCms.buildTransform(opened, ImageCms.createProfile("sRGB"), space, "RGB")
        if space == "RGB":
            colours = _colours()
            changed = ImageCms.applyTransform(colours, transform)
            if changed is None or np.abs(np.asarray(changed, np.int16) - np.asarray(colours)).max() <= _NEAR:
                return space, None
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        # Damaged profiles are common and say nothing about the pixels.
        return "", None
    return space, transform


def _colours() -> Image.Image:
    levels = np.linspace(0, 255, 9).astype(np.uint8)
    grid = np.stack(np.meshgrid(levels, levels, levels), -1).reshape(27, 27, 3)
    return Image.fromarray(grid)
