"""TIFF: the page that is the picture, and samples of the range and kind that the file declares."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from crosslens.images.formats import TIFF
from crosslens.images.orientation import orientation_number
from crosslens.images.picture import Picture, Pixels, load_pillow, without_empty_alpha
from crosslens.images.raw import raw_picture
from crosslens.images.samples import to_eight_bits
from crosslens.support.errors import ImageError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from tifffile import TiffFile, TiffPage

# What it says about damaged tags either ends in an error here or does not matter.
logging.getLogger("tifffile").setLevel(logging.CRITICAL)

_MOST_PAGES = 64
_MOST_SAMPLES = 16
"""Bytes a pixel that are decoded at most."""
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _CMYK, _YCBCR = 0, 1, 2, 3, 5, 6
_SENSOR = (32803, 34892)
"""Photometric interpretations of camera sensors."""
_DNG_VERSION = 50706
# Their decoders stop at the size that the directory declares; those of whole pictures (JPEG, WebP, ...) do not.
_BOUNDED = {1, 2, 3, 4, 5, 8, 32773, 32946, 34925, 50000}
_ASSOCIATED = 1


class _SensorError(Exception):
    """The TIFF is a camera's RAW file."""


def tiff_picture(content: bytes) -> Picture:
    """Open a TIFF: its first page that is not a small copy or a mask of another.

    Eight bits a sample are left to Pillow, everything else is read by tifffile.

    Raises:
        ImageError: when it holds a camera's raw data, or samples of a kind that is not read.
        Exception: of any kind, when the directory is damaged.
    """
    import tifffile

    try:
        opened = tifffile.TiffFile(io.BytesIO(content))
        place, page = _main_page(opened)
    except _SensorError:
        return raw_picture(content)
    except ImageError:
        raise
    except Exception:
        return _with_pillow(content, 0)
    if place is not None and _is_plain(page):
        try:
            return _with_pillow(content, place)
        except Exception:
            # A kind of compression or layout that Pillow lacks.
            pass
    _require_readable(page)
    return Picture(TIFF, (page.imagewidth, page.imagelength), lambda mode, min_side: _load(page))


def _with_pillow(content: bytes, place: int) -> Picture:
    image = Image.open(io.BytesIO(content), formats=("TIFF",))
    image.seek(place)
    return Picture(TIFF, image.size, lambda mode, min_side: load_pillow(image))


def _main_page(opened: TiffFile) -> tuple[int | None, TiffPage]:
    """The page that is the picture, and its place among the pages; None where it lies below one of them."""
    first = None
    below: list[TiffPage] = []
    for place, page in _pages(opened):
        if first is None:
            first = page
        if page.photometric in _SENSOR or _DNG_VERSION in page.tags:
            raise _SensorError
        if not _is_derived(page):
            return place, page
        below += list(page.pages or ())[:_MOST_PAGES]
    if first is None:
        raise ImageError("the TIFF holds no page")
    if any(page.photometric in _SENSOR for page in below):
        raise _SensorError
    return next(((None, page) for page in below if not _is_derived(page)), (0, first))


def _pages(opened: TiffFile) -> Iterator[tuple[int, Any]]:
    for place in range(_MOST_PAGES):
        try:
            yield place, opened.pages[place]
        except IndexError:
            return


def _is_derived(page: TiffPage) -> bool:
    """Whether a page is a smaller copy or a mask: NewSubfileType, or the older SubfileType."""
    kind = page.tags.get(254)
    if kind is not None:
        return bool(int(kind.value) & 5)
    older = page.tags.get(255)
    return older is not None and int(older.value) == 2


def _is_plain(page: TiffPage) -> bool:
    kinds = page.sampleformat if isinstance(page.sampleformat, tuple) else (page.sampleformat,)
    bits = page.bitspersample if isinstance(page.bitspersample, tuple) else (page.bitspersample,)
    return max(bits) <= 8 and set(kinds) <= {1, 4}


def _require_readable(page: TiffPage) -> None:
    kinds = (_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _CMYK)
    if page.photometric not in kinds:
        raise ImageError(
            f"TIFF of the colour kind {getattr(page.photometric, 'name', page.photometric)} is not read"
        )
    if int(page.compression) not in _BOUNDED:
        name = getattr(page.compression, "name", page.compression)
        raise ImageError(f"TIFF with the compression {name} and {page.bitspersample} bits a sample is not read")
    if page.imagedepth != 1 or page.nbytes > _MOST_SAMPLES * page.imagewidth * page.imagelength:
        raise ImageError(f"TIFF with {page.samplesperpixel} samples a pixel is not read")


def _load(page: TiffPage) -> Pixels:
    values = page.asarray(maxworkers=1, squeeze=False)  # (samples apart, depth, height, width, samples together)
    values = np.moveaxis(values[:, 0], 0, -1).reshape(page.imagelength, page.imagewidth, -1)
    if values.dtype.kind == "c":
        values = np.abs(values)
    colours = {_RGB: 3, _CMYK: 4}.get(int(page.photometric), 1)
    if values.shape[2] < colours:
        raise ImageError(f"TIFF with {values.shape[2]} samples a pixel is not read")
    if page.photometric == _PALETTE:
        image = _coloured(values[..., 0], page)
    else:
        shown = to_eight_bits(values[..., :colours], _bits(page), _declared(page))
        if page.photometric == _WHITE_IS_ZERO:
            shown = 255 - shown
        image = _with_alpha(shown, values[..., colours:], page)
    profile = page.tags.get(34675)
    turn = page.tags.get(274)
    orientation = (orientation_number(turn.value) if turn is not None else None) or 1
    return Pixels(image, orientation, bytes(profile.value) if profile is not None else None)


def _bits(page: TiffPage) -> int:
    bits = page.bitspersample
    return max(bits) if isinstance(bits, tuple) else int(bits)


def _declared(page: TiffPage) -> tuple[float, float] | None:
    """Black and white as SMinSampleValue and SMaxSampleValue say, or the depth that MaxSampleValue does."""
    low, high = (_ends(page, 340, min), _ends(page, 341, max))
    if high is not None:
        return (low if low is not None else 0.0), high
    top = _ends(page, 281, max)
    # Often it is the largest value that occurs, which says nothing about white.
    if top is not None and top >= 255 and (int(top) + 1) & int(top) == 0:
        return 0.0, top
    return None


def _ends(page: TiffPage, code: int, choose: Any) -> float | None:
    tag = page.tags.get(code)
    if tag is None:
        return None
    try:
        return float(choose(tag.value) if isinstance(tag.value, tuple) else tag.value)
    except (TypeError, ValueError):
        return None


def _coloured(indices: NDArray[Any], page: TiffPage) -> Image.Image:
    table = to_eight_bits(np.asarray(page.colormap), 16)  # (3, colours)
    return Image.fromarray(np.moveaxis(table[:, np.minimum(indices, table.shape[1] - 1)], 0, -1).copy())


def _with_alpha(shown: NDArray[np.uint8], others: NDArray[Any], page: TiffPage) -> Image.Image:
    """The picture of ``(H, W, C)`` colours, with the first of the other samples where that is an alpha."""
    modes = {1: "L", 3: "RGB", 4: "CMYK"}
    colours = Image.merge(
        modes[shown.shape[2]],
        [Image.fromarray(np.ascontiguousarray(shown[..., layer])) for layer in range(shown.shape[2])],
    )
    kinds = [int(kind) for kind in page.extrasamples]
    if not kinds or kinds[0] not in (1, 2) or not others.shape[2] or shown.shape[2] == 4:
        return colours
    white = 1.0 if others.dtype.kind == "f" else float(2 ** _bits(page) - 1)
    alpha = others[..., 0].astype(np.float64) / white
    if kinds[0] == _ASSOCIATED and alpha.max(initial=0) > 0:
        whole = np.where(alpha > 0, 1 / np.maximum(alpha, 1e-6), 0)[..., None]
        colours = Image.fromarray(np.clip(np.rint(shown * whole), 0, 255).astype(np.uint8).squeeze())
    layer = Image.fromarray(np.clip(np.rint(alpha * 255), 0, 255).astype(np.uint8))
    colours.putalpha(layer)
    return without_empty_alpha(colours)
