"""A part of a picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Self

from PIL import Image

from crosslens.support.errors import ConfigError

_ROUNDING = 1e-6


class Region(NamedTuple):
    """A rectangle in a picture that stands upright, as shares of its width and height.

    Attributes:
        x, y: the upper left corner, in [0, 1).
        width, height: in (0, 1]; the rectangle lies inside the picture.
    """

    x: float
    y: float
    width: float
    height: float

    @classmethod
    def of(cls, numbers: Sequence[float | str]) -> Self:
        """A region of four numbers.

        Raises:
            ConfigError: for another number of them, or a rectangle that is empty or not inside the picture.
        """
        try:
            region = cls(*(float(number) for number in numbers))
        except (TypeError, ValueError):
            raise ConfigError(f"a region is four numbers x, y, width, height, not {numbers!r}") from None
        for start, length in ((region.x, region.width), (region.y, region.height)):
            # Asked so that NaN fails too.
            if not (0 <= start < 1 and length > 0 and start + length <= 1 + _ROUNDING):
                raise ConfigError(
                    f"the region {','.join(f'{number:g}' for number in region)} does not lie inside the picture:"
                    " x, y, width and height are shares of it, from 0 to 1"
                )
        return region

    def cut(self, picture: Image.Image) -> Image.Image:
        """The part of a picture, to the nearest pixels and never less than one."""
        left, right = _span(self.x, self.width, picture.width)
        top, bottom = _span(self.y, self.height, picture.height)
        return picture.crop((left, top, right, bottom))


def _span(start: float, length: float, pixels: int) -> tuple[int, int]:
    first = min(round(start * pixels), pixels - 1)
    return first, max(min(round((start + length) * pixels), pixels), first + 1)
