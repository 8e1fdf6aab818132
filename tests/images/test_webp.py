from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from crosslens.images.decode import decode
from crosslens.support.errors import ImageError
from testing.picture_files import encoded, gradient

PICTURE = Image.fromarray(gradient())
PLAIN = encoded(PICTURE, "WEBP", lossless=True)
NAMED = encoded(PICTURE, "WEBP", lossless=True, xmp=b"<x:xmpmeta/>" * 9 + b".")

DAMAGED = {
    "size 0": PLAIN[:4] + bytes(4) + PLAIN[8:],
    "a size beyond the end": PLAIN[:4] + b"\xff\xff\xff\x7f" + PLAIN[8:],
    "a last chunk cut off": NAMED[:-9],
    "a last byte missing": NAMED[:-1],
    "a head of a chunk at the end": NAMED + b"EXIF\xff",
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_a_damaged_container_with_whole_pixels_is_read(kind: str) -> None:
    assert np.array_equal(np.asarray(decode(DAMAGED[kind])), gradient())


def test_missing_pixels_are_refused() -> None:
    with pytest.raises(ImageError, match="WebP"):
        decode(PLAIN[: len(PLAIN) * 3 // 4])
