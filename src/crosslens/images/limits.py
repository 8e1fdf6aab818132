"""How large a picture may be: one limit for everything in this process that decodes."""

from __future__ import annotations

import os
import warnings

from PIL import Image

from crosslens.support.errors import ConfigError

VARIABLE = "CROSSLENS_MAX_PIXELS"
"""Environment variable of the limit, in million pixels; what ``--max-pixels`` sets."""
DEFAULT = 89_478_485
"""Largest width x height that is decoded unless a limit is set (Pillow's own bomb limit)."""
SCALED = 2
"""How many times the limit a JPEG may have that is scaled while it is decoded (``fast``)."""

# The limit here is an error and at most Pillow's warning limit, so its warning would only repeat it.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)

_limit: int | None = None


def max_pixels() -> int:
    """The limit on width x height: the one that was set, else the environment's, else ``DEFAULT``.

    Raises:
        ConfigError: when the environment holds no number of million pixels.
    """
    if _limit is None:
        set_max_pixels(_from_environment())
    assert _limit is not None
    return _limit


def set_max_pixels(pixels: int) -> None:
    """Set the limit on width x height for this process; memory for four bytes a pixel and more is needed.

    Raises:
        ConfigError: unless it is positive.
    """
    global _limit
    if pixels < 1:
        raise ConfigError(f"a limit of {pixels} pixels lets no picture through; give a positive number")
    _limit = pixels
    allow(pixels)


def allow(pixels: int) -> None:
    """Raise Pillow's own limit, where it is lower: it is checked inside its plugins and cannot be passed on."""
    if Image.MAX_IMAGE_PIXELS is not None and pixels > Image.MAX_IMAGE_PIXELS:
        Image.MAX_IMAGE_PIXELS = pixels


def _from_environment() -> int:
    value = os.environ.get(VARIABLE, "").strip()
    if not value:
        return DEFAULT
    try:
        return max(1, round(float(value) * 1e6))
    except (ValueError, OverflowError):
        raise ConfigError(f"{VARIABLE} is a number of million pixels such as 200, not {value!r}") from None
