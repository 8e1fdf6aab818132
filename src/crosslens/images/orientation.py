"""Which way up a picture is: EXIF's orientation, whatever stands beside it."""

from __future__ import annotations

from typing import Any

from PIL import ExifTags, Image

_TURN = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def orientation_of(image: Image.Image) -> int:
    """EXIF's orientation, 1 to 8; 1 where there is none, or another value.

    The value is taken whatever type it was written as, and nothing else of the block has to be sound.
    """
    try:
        value = image.getexif().get(ExifTags.Base.Orientation)
    except Exception:
        # Any kind of error; the tag may be readable all the same.
        value = None
    found = orientation_number(value)
    return found or orientation_number(_raw_orientation(image.info.get("exif"))) or 1


def upright(image: Image.Image, orientation: int) -> Image.Image:
    """The picture turned and mirrored as an orientation of 1 to 8 says."""
    return image if orientation == 1 else image.transpose(_TURN[orientation])


def orientation_number(value: Any) -> int | None:
    """A tag's value, of whatever type it was written as, as a number of 1 to 8; None where it is none."""
    if isinstance(value, tuple | list) and value:
        value = value[0]
    if isinstance(value, bytes):
        digits = value.strip(b"\0 ")
        value = digits.decode("ascii") if digits.isdigit() else max(value, default=0)
    try:
        number = int(value)
    except (TypeError, ValueError, ArithmeticError):
        return None
    return number if 1 <= number <= 8 else None


def _raw_orientation(block: Any) -> int | bytes | None:
    """The tag in the first directory of an EXIF block that Pillow gave up on."""
    if not isinstance(block, bytes):
        return None
    block = block.removeprefix(b"Exif\0\0")
    order = {b"II": "little", b"MM": "big"}.get(block[:2])
    if order is None:
        return None

    def number(start: int, size: int) -> int:
        return int.from_bytes(block[start : start + size], order)  # type: ignore[arg-type]

    start = number(4, 4)
    for entry in range(start + 2, min(start + 2 + 12 * number(start, 2), len(block) - 11), 12):
        if number(entry, 2) == ExifTags.Base.Orientation:
            wide = {3: 2, 4: 4, 8: 2, 9: 4}.get(number(entry + 2, 2))
            return number(entry + 8, wide) if wide else block[entry + 8 : entry + 12]
    return None
