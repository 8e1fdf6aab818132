"""Small pictures of indexed images, made once and kept on disk within a limit."""

from __future__ import annotations

import hashlib
import os
import threading
from pathlib import Path

from PIL import Image

from crosslens.images.decode import REVISION, decode
from crosslens.support.addresses import Place
from crosslens.support.errors import CrosslensError
from crosslens.support.file_stamp import stamp_of
from crosslens.support.files import atomic_path

_QUALITY = 80


class Thumbnails:
    """A cache of WebP pictures.

    They lie in ``folder`` under the hash of the original's path, its stamp and the side asked for, so a
    changed image gets another one. Beyond ``limit`` bytes the ones that were not used longest go.
    """

    def __init__(self, folder: Path, limit: int) -> None:
        self._folder, self._limit = folder, limit
        self._written = 0
        self._pruning = threading.Lock()

    def tag(self, original: Place, side: int) -> str:
        """What the thumbnail is known by: 32 hexadecimal characters.

        Raises:
            OSError: when the original is gone.
        """
        key = f"{original}\0{stamp_of(original)}\0{side}\0{_QUALITY}\0{REVISION}"
        return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:32]

    def get(self, original: Place, side: int, tag: str | None = None) -> bytes:
        """The thumbnail whose longer side is at most ``side`` pixels, as WebP.

        Args:
            original: the picture.
            side: in pixels.
            tag: of both, where it was asked for already.

        Raises:
            ImageError: when the original cannot be decoded.
            OSError: when it is gone.
        """
        tag = tag or self.tag(original, side)
        file = self._folder / tag[:2] / f"{tag}.webp"
        try:
            content = file.read_bytes()
            os.utime(file)
            return content
        except OSError:
            pass
        image = decode(original, mode="fast", min_side=side)
        image.thumbnail((side, side), Image.Resampling.BICUBIC, reducing_gap=2.0)
        try:
            with atomic_path(file) as temporary:
                image.save(temporary, "WEBP", quality=_QUALITY, method=2)
                content = temporary.read_bytes()
        except CrosslensError:
            # A full disk must not keep anybody from looking.
            return _encoded(image)
        self._count(len(content))
        return content

    def prune(self) -> int:
        """Delete the least recently used ones until nine tenths of the limit are left; says how many went."""
        files = []
        for file in self._folder.glob("??/*.webp"):
            try:
                state = file.stat()
            except OSError:
                continue
            files.append((state.st_mtime_ns, state.st_size, file))
        held = sum(size for _, size, _ in files)
        gone = 0
        if held > self._limit:
            for _, size, file in sorted(files):
                if held <= self._limit * 0.9:
                    break
                file.unlink(missing_ok=True)
                held -= size
                gone += 1
        return gone

    def _count(self, size: int) -> None:
        self._written += size
        # Looking through the folder is slow, so it happens once in a twentieth of the limit.
        if self._written * 20 >= self._limit and self._pruning.acquire(blocking=False):
            try:
                self._written = 0
                self.prune()
            finally:
                self._pruning.release()


def _encoded(image: Image.Image) -> bytes:
    import io

    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=_QUALITY, method=2)
    return buffer.getvalue()
