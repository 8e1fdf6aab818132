"""PNG beyond what Pillow takes: damaged or oversized side chunks, and 16 bits a channel."""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterator

import numpy as np
from PIL import Image

from crosslens.images.formats import PNG
from crosslens.images.picture import Picture, Pixels, load_pillow
from crosslens.images.samples import to_eight_bits

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PIXELS = (b"IHDR", b"PLTE", b"IDAT", b"IEND")
# Beside the chunks that hold the pixels, these change how they are shown.
_SHOWN = (b"tRNS", b"iCCP", b"eXIf")


def png_picture(content: bytes) -> Picture:
    """Open a PNG, or the first picture of an APNG. Only what holds the pixels has to be sound.

    Raises:
        Exception: of any kind, when the header is damaged.
    """
    try:
        image: Image.Image = Image.open(io.BytesIO(content), formats=PNG.pillow)
        sound = content
    except Image.DecompressionBombError:
        raise
    except Exception:
        image, sound = _cleaned(content)

    def load() -> Pixels:
        try:
            pixels = load_pillow(image)
            source = sound
        except Exception:
            # The chunks behind the pixels are read only now.
            again, source = _cleaned(content)
            pixels = load_pillow(again)
        return _deep(source, pixels) if content[24] == 16 else pixels

    return Picture(PNG, image.size, lambda mode, min_side: load())


def _cleaned(content: bytes) -> tuple[Image.Image, bytes]:
    """The file without the side chunks that are damaged, too large, or change nothing that is seen.

    Raises:
        Exception: when the chunks that hold the pixels are damaged too.
    """
    chunks = list(_chunks(content))
    kept = [(name, chunk) for name, chunk, _ in chunks if name in _PIXELS]
    first = next((place for place, (name, _) in enumerate(kept) if name == b"IDAT"), len(kept))
    # One of each: a file may hold thousands, and every one that is tried is read with the pixels.
    shown = {name: chunk for name, chunk, sound in reversed(chunks) if sound and name in _SHOWN}
    for name, chunk in shown.items():
        # Each stands before the pixels, wherever it stood.
        tried = [*kept[:first], (name, chunk), *kept[first:]]
        if (name != b"tRNS" or _fits(chunk, content[25])) and _opens(_joined(tried)):
            kept, first = tried, first + 1
    cleaned = _joined(kept)
    return Image.open(io.BytesIO(cleaned), formats=PNG.pillow), cleaned


def _joined(chunks: list[tuple[bytes, bytes]]) -> bytes:
    return _SIGNATURE + b"".join(chunk for _, chunk in chunks)


def _fits(chunk: bytes, colour: int) -> bool:
    """Whether a ``tRNS`` chunk has the length that the colour type asks for."""
    length = len(chunk) - 12
    return length == {0: 2, 2: 6}.get(colour) or (colour == 3 and 1 <= length <= 256)


def _opens(content: bytes) -> bool:
    try:
        Image.open(io.BytesIO(content), formats=PNG.pillow)
        return True
    except Exception:
        return False


def _chunks(content: bytes) -> Iterator[tuple[bytes, bytes, bool]]:
    """Name, bytes and soundness of every chunk that is there whole."""
    place = len(_SIGNATURE)
    while place + 12 <= len(content):
        stop = place + 12 + int.from_bytes(content[place : place + 4], "big")
        if stop > len(content):
            # A chunk cut short may hold pixels; Pillow says what is missing.
            yield content[place + 4 : place + 8], content[place:], False
            return
        body = content[place + 4 : stop - 4]
        yield body[:4], content[place:stop], zlib.crc32(body) == int.from_bytes(content[stop - 4 : stop], "big")
        place = stop


def _deep(content: bytes, pixels: Pixels) -> Pixels:
    """Decode 16-bit colour with all its bits, of which Pillow keeps the upper eight."""
    import imagecodecs

    values = np.asarray(imagecodecs.png_decode(content))
    if values.dtype != np.uint16:
        return pixels
    values = values.reshape(*values.shape[:2], -1)
    colours = values.shape[2] - (values.shape[2] % 2 == 0)
    shown = to_eight_bits(values[..., :colours], _significant(content, values[..., :colours]))
    layers = [Image.fromarray(np.ascontiguousarray(shown[..., layer])) for layer in range(colours)]
    if values.shape[2] > colours:
        layers.append(Image.fromarray((values[..., -1] // 257).astype(np.uint8)))
    image = Image.merge({1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}[len(layers)], layers)
    return Pixels(image, pixels.orientation, pixels.profile)


def _significant(content: bytes, values: np.ndarray) -> int:
    """Bits of a sample: those that ``sBIT`` declares, where the values were not scaled up from them."""
    for name, chunk, sound in _chunks(content):
        if name == b"IDAT":
            break
        if name == b"sBIT" and sound and len(chunk) > 12:
            bits = max(chunk[8:-4])
            if 8 <= bits < 16 and int(values.max(initial=0)) < 2**bits:
                return bits
    return 16
