"""Camera RAW, developed by LibRaw where the extra ``raw`` is installed."""

from __future__ import annotations

import io

from PIL import Image

from crosslens.images.formats import RAW
from crosslens.images.picture import Picture, Pixels
from crosslens.support.errors import ImageError

_NOT_INSTALLED = "it holds a camera's raw data; install crosslens[raw] to read such files, or export it as JPEG"


def raw_picture(content: bytes) -> Picture:
    """Open a camera's RAW file; it is developed with the camera's white balance, upright.

    Raises:
        ImageError: when ``rawpy`` is not installed.
        Exception: of any kind, when LibRaw cannot read it.
    """
    if not RAW.is_read:
        raise ImageError(_NOT_INSTALLED)
    import rawpy

    opened = rawpy.imread(io.BytesIO(content))
    size = opened.sizes.width, opened.sizes.height
    return Picture(
        RAW, size, lambda mode, min_side: Pixels(Image.fromarray(opened.postprocess(use_camera_wb=True)))
    )
