"""From samples of any depth to 8 bits: what the file declares goes first, what its values can be comes second."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_DEPTHS = (8, 10, 12, 16, 24)
"""Bits that cameras, scanners and microscopes deliver in wider integers."""
_SPARE = 4
"""Bits that must be unused before a picture counts as one of fewer bits: black would then be all that is seen."""
_WHITES = (255.0, 1023.0, 4095.0, 16383.0, 65535.0)
"""What is white in float pictures that were integers once."""
_SAMPLED = 1_000_000


def to_eight_bits(
    values: NDArray[Any], bits: int | None = None, declared: tuple[float, float] | None = None
) -> NDArray[np.uint8]:
    """Samples of any type to 8 bits, black 0 and white 255; NaN is black, infinity white.

    Args:
        values: integers or floats of any shape; colour channels share one range.
        bits: of an integer sample, as the file declares them; those of the type by default.
        declared: black and white as the file declares them (TIFF's SMinSampleValue and SMaxSampleValue).

    Returns:
        The same shape.
    """
    if not values.size:
        return np.zeros(values.shape, np.uint8)
    if values.dtype.kind == "b":
        return values.astype(np.uint8) * np.uint8(255)
    black, white = declared if declared and declared[0] < declared[1] else _implied(values, bits)
    shown = _between(values, black, white)
    # A range of 16 bits or less is what the file means; in a wider or a declared one everything may fall together.
    if (declared or values.dtype.itemsize > 2) and int(shown.max()) - int(shown.min()) <= 1:
        low, high = _extremes(values)
        if low < high:
            shown = _between(values, low, high)
    return shown


def _between(values: NDArray[Any], black: float, white: float) -> NDArray[np.uint8]:
    # 24 bits are exact in float32; wider ones need float64.
    wide = values.dtype.itemsize > 2
    scaled: NDArray[Any] = values.astype(np.float64 if wide else np.float32)
    with np.errstate(invalid="ignore", over="ignore"):
        np.subtract(scaled, black, out=scaled)
        np.multiply(scaled, 255 / (white - black), out=scaled)
    np.nan_to_num(scaled, copy=False, nan=0.0, posinf=255.0, neginf=0.0)
    return np.clip(np.rint(scaled, out=scaled), 0, 255, out=scaled).astype(np.uint8)


def _implied(values: NDArray[Any], bits: int | None) -> tuple[float, float]:
    if values.dtype.kind == "f":
        return _float_range(values)
    width = bits or 8 * values.dtype.itemsize
    low, high = int(values.min()), int(values.max())
    depths = [depth for depth in _DEPTHS if depth <= width - _SPARE]
    if low >= 0:
        declared = width - 1 if values.dtype.kind == "i" else width
        return 0.0, float(2 ** next((depth for depth in depths if high < 2**depth), declared) - 1)
    # Signed values around 0: the narrowest usual range that holds them (13 bits: Hounsfield units).
    if width >= 16:
        depths = sorted({*depths, 13})
    fitting = (depth for depth in depths if -(2**depth) <= 2 * low and 2 * high < 2**depth)
    half = 2 ** (next(fitting, width) - 1)
    return float(-half), float(half - 1)


def _float_range(values: NDArray[Any]) -> tuple[float, float]:
    """Black and white of a float picture that declares none.

    One stray value must not decide, so the thousandth parts at both ends are not looked at.
    """
    flat = values.reshape(-1)
    some = flat[:: max(1, flat.size // _SAMPLED)].astype(np.float64)
    some = some[np.isfinite(some)]
    if not some.size:
        return 0.0, 1.0
    low = float(np.quantile(some, 0.001, method="higher"))
    high = float(np.quantile(some, 0.999, method="lower"))
    if low < -0.1 * max(high, -low):
        return (-1.0, 1.0) if low >= -1.5 and high <= 1.5 else (low, max(high, low + 1e-9))
    if high <= 1.5:
        return 0.0, 1.0
    if high <= 16:
        return 0.0, high
    return next(((0.0, white) for white in _WHITES if high <= 1.1 * white), (min(low, 0.0), high))


def _extremes(values: NDArray[Any]) -> tuple[float, float]:
    finite = values[np.isfinite(values)] if values.dtype.kind == "f" else values
    return (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
