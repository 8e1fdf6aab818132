"""Small pictures as data URIs, of bounded size whatever the files hold."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping

from PIL import Image

from crosslens.images.decode import decode
from crosslens.support.addresses import Place
from crosslens.support.errors import ImageError

SIDE = 96
"""Longer side of a thumbnail in pixels."""
MAX_BYTES = 6_000
"""Largest JPEG that goes into the page; about what pure noise takes at the first quality below."""
_QUALITIES = (78, 40, 5)


class Thumbnails:
    """Thumbnails by image id, each decoded once.

    Args:
        paths: the file of every image id.
    """

    def __init__(self, paths: Mapping[str, Place]) -> None:
        self.paths = paths
        self._made: dict[str, str | None] = {}

    def uri(self, image: str) -> str | None:
        """The data URI of an image, at most ``4/3 * MAX_BYTES`` and a few characters long.

        Returns:
            None when the image is unknown or cannot be decoded: the page shows its name instead.
        """
        if image not in self._made:
            self._made[image] = self._make(image)
        return self._made[image]

    def _make(self, image: str) -> str | None:
        if image not in self.paths:
            return None
        try:
            picture = decode(self.paths[image], mode="fast", min_side=SIDE)
        except ImageError:
            return None
        return "data:image/jpeg;base64," + base64.b64encode(_jpeg(picture)).decode("ascii")


def _jpeg(picture: Image.Image) -> bytes:
    picture.thumbnail((SIDE, SIDE))
    # Pixels only: comments and colour profiles of the file would come along, however large.
    bare = Image.frombytes("RGB", picture.size, picture.tobytes())
    content = b""
    for quality in _QUALITIES:
        buffer = io.BytesIO()
        bare.save(buffer, "JPEG", quality=quality, optimize=True)
        content = buffer.getvalue()
        if len(content) <= MAX_BYTES:
            break
    return content
