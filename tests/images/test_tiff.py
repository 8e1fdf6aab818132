from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from crosslens.images.decode import decode
from crosslens.support.errors import ImageError
from testing.picture_files import encoded, gradient, tiff

COLOUR = gradient()
GREY = COLOUR[..., 2]
DEEP = GREY.astype(np.uint16) * 257


def difference(content: bytes, wanted: np.ndarray) -> float:
    shown = np.asarray(decode(content)).astype(float)
    return float(np.abs(shown - (wanted if wanted.ndim == 3 else wanted[..., None])).mean())


def unsigned(bits: int) -> np.ndarray:
    kind = np.uint8 if bits <= 8 else np.uint16 if bits <= 16 else np.uint32
    return np.rint(GREY / 255 * (2**bits - 1)).astype(kind)


GREYS = {
    **{f"white is zero, {bits} bits": tiff(2**bits - 1 - unsigned(bits), photometric=0) for bits in (8, 16, 32)},
    **{f"{bits} bits packed": tiff(unsigned(bits), photometric=1, bitspersample=bits) for bits in (10, 12, 14)},
    **{f"{bits} bits in 16": tiff(unsigned(bits)) for bits in (8, 10, 12, 16)},
    **{f"{bits} bits in 32": tiff(unsigned(bits).astype(np.uint32)) for bits in (8, 10, 12, 16, 24, 32)},
    **{f"{bits} bits in signed 32": tiff(unsigned(bits).astype(np.int32)) for bits in (8, 12, 16, 24, 31)},
    "signed 16, from 0": tiff(unsigned(15).astype(np.int16)),
    "signed 16, around 0": tiff((unsigned(16).astype(np.int32) - 32768).astype(np.int16)),
    "signed 16, 12 bits around 0": tiff((unsigned(12).astype(np.int32) - 2048).astype(np.int16)),
    "signed 8": tiff((unsigned(8).astype(np.int16) - 128).astype(np.int8)),
    "white is zero, float": tiff((1 - GREY / 255).astype(np.float32), photometric=0),
    **{f"float to {top}": tiff((GREY / 255 * top).astype(np.float32)) for top in (1, 255, 1023, 4095, 65535)},
    "half float": tiff((GREY / 255).astype(np.float16)),
    "double": tiff(GREY / 255),
    "float around 0": tiff((GREY / 127.5 - 1).astype(np.float32)),
    "declared range": tiff(
        (GREY / 255 * 50 + 300).astype(np.float32),
        extratags=[(340, 11, 1, 300.0, True), (341, 11, 1, 350.0, True)],
    ),
    "declared depth": tiff(unsigned(14), extratags=[(281, 3, 1, 16383, True)]),
    "deflate with a predictor": tiff(DEEP, compression="zlib", predictor=True),
    "LZW": tiff(DEEP, compression="lzw"),
    "tiles": tiff(DEEP, tile=(16, 32), compression="zlib"),
}


@pytest.mark.parametrize("kind", GREYS)
def test_grey_of_every_range(kind: str) -> None:
    assert difference(GREYS[kind], GREY) <= 1


@pytest.mark.parametrize("stray", [1.01, 1.02, np.inf, -np.inf, np.nan, 1e30])
def test_one_stray_value_does_not_turn_a_float_picture_black(stray: float) -> None:
    values = (GREY / 255).astype(np.float32)
    values[0, 0] = stray
    assert difference(tiff(values), GREY) <= 1


def test_values_beyond_every_convention_are_stretched() -> None:
    assert difference(tiff((GREY / 255 * 9e6).astype(np.float32)), GREY) <= 3
    assert difference(tiff((GREY / 255 * 5).astype(np.float32)), GREY) <= 3
    assert np.asarray(decode(tiff(DEEP.astype(np.uint32) // 4096 + np.uint32(2**31)))).std() > 50


COLOURS = {
    "RGB, 16 bits": tiff(COLOUR.astype(np.uint16) * 257, photometric="rgb"),
    "RGB, 12 bits in 16": tiff(COLOUR.astype(np.uint16) * 16, photometric="rgb"),
    "RGB, float": tiff((COLOUR / 255).astype(np.float32), photometric="rgb"),
    "RGB, planes apart": tiff(
        np.moveaxis(COLOUR.astype(np.uint16) * 257, -1, 0).copy(), photometric="rgb", planarconfig="separate"
    ),
    "RGB, 8 bits": tiff(COLOUR, photometric="rgb"),
    "RGB, 8 bits, a compression that Pillow lacks": tiff(COLOUR, photometric="rgb", compression="zstd"),
    "CMYK, 16 bits": tiff(
        np.dstack([(255 - COLOUR).astype(np.uint16) * 257, np.zeros(GREY.shape, np.uint16)]),
        photometric="separated",
    ),
    "RGBA, opaque": tiff(
        np.dstack([COLOUR.astype(np.uint16) * 257, np.full(GREY.shape, 65535, np.uint16)]),
        photometric="rgb",
        extrasamples=["unassalpha"],
    ),
    "RGBA, never filled in, 16 bits": tiff(
        np.dstack([COLOUR.astype(np.uint16) * 257, np.zeros(GREY.shape, np.uint16)]),
        photometric="rgb",
        extrasamples=["unassalpha"],
    ),
    "RGBA, never filled in, 8 bits": tiff(
        np.dstack([COLOUR, np.zeros(GREY.shape, np.uint8)]), photometric="rgb", extrasamples=["unassalpha"]
    ),
    "RGB and something else": tiff(
        np.dstack([COLOUR, np.zeros(GREY.shape, np.uint8)]), photometric="rgb", extrasamples=["unspecified"]
    ),
}


@pytest.mark.parametrize("kind", COLOURS)
def test_colour_of_every_kind(kind: str) -> None:
    assert difference(COLOURS[kind], COLOUR) <= 1


@pytest.mark.parametrize("associated", [False, True])
def test_deep_transparency_falls_on_white(associated: bool) -> None:
    alpha = np.zeros(GREY.shape, np.uint16)
    alpha[:, 48:] = 65535
    alpha[:, :8] = 32768
    colours = COLOUR.astype(np.uint16) * 257
    stored = (colours * (alpha[..., None] / 65535)).astype(np.uint16) if associated else colours
    kind = "assocalpha" if associated else "unassalpha"
    shown = np.asarray(decode(tiff(np.dstack([stored, alpha]), photometric="rgb", extrasamples=[kind])))
    opacity = alpha[..., None] / 65535
    assert np.abs(shown - (COLOUR * opacity + 255 * (1 - opacity))).max() <= 2


def pages(*stored: tuple[np.ndarray, dict[str, object]]) -> bytes:
    import io

    import tifffile

    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as writer:
        for values, options in stored:
            writer.write(values, metadata=None, **options)
    return buffer.getvalue()


SMALL = np.zeros((16, 24, 3), np.uint8)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_the_page_that_is_no_thumbnail_is_taken(dtype: type) -> None:
    large = COLOUR.astype(dtype) * (257 if dtype is np.uint16 else 1)
    thumbnail_first = pages((SMALL, {"subfiletype": 1, "photometric": "rgb"}), (large, {"photometric": "rgb"}))
    assert difference(thumbnail_first, COLOUR) <= 1
    mask = np.zeros((16, 24), bool)
    mask_first = pages((mask, {"subfiletype": 4, "photometric": 4}), (large, {"photometric": "rgb"}))
    assert difference(mask_first, COLOUR) <= 1
    below = pages((SMALL, {"subfiletype": 1, "photometric": "rgb", "subifds": 1}), (large, {"photometric": "rgb"}))
    assert difference(below, COLOUR) <= 1
    document = pages((large, {"photometric": "rgb"}), (SMALL, {"photometric": "rgb"}))
    assert difference(document, COLOUR) <= 1
    alone = pages((SMALL + 7, {"subfiletype": 1, "photometric": "rgb"}))
    assert decode(alone).size == (24, 16)


def test_white_is_zero_with_alpha_of_one_channel() -> None:
    grey = Image.fromarray(GREY)
    both = Image.merge("LA", (grey, Image.new("L", grey.size, 255)))
    assert difference(encoded(both, "TIFF"), GREY) <= 1
    la = tiff(np.dstack([GREY, np.full_like(GREY, 255)]), photometric=1, extrasamples=["assocalpha"])
    assert difference(la, GREY) <= 1


def test_orientation_of_a_deep_page() -> None:
    turned = np.rot90(DEEP)
    assert difference(tiff(turned.copy(), extratags=[(274, 3, 1, 6, True)]), GREY) <= 1


def test_camera_files_are_named_as_such() -> None:
    cfa = tiff(DEEP, photometric=32803, extratags=[(33421, 3, 2, (2, 2), True), (33422, 1, 4, (0, 1, 1, 2), True)])
    with pytest.raises(ImageError, match="camera's raw data"):
        decode(cfa)


def test_the_limit_holds_for_the_page_that_is_taken() -> None:
    content = pages((SMALL, {"subfiletype": 1, "photometric": "rgb"}), (DEEP, {}))
    assert decode(content, max_pixels=DEEP.size).size == (96, 64)
    with pytest.raises(ImageError, match="96 x 64 pixels"):
        decode(content, max_pixels=DEEP.size - 1)


def test_damaged_deep_files_raise_nothing_but_image_errors() -> None:
    rng = np.random.default_rng(0)
    for content in (GREYS["LZW"], GREYS["12 bits packed"], COLOURS["CMYK, 16 bits"]):
        for _ in range(60):
            damaged = bytearray(content)
            for place in rng.integers(0, len(damaged), 6):
                damaged[place] = rng.integers(0, 256)
            try:
                assert decode(bytes(damaged), max_pixels=1_000_000).mode == "RGB"
            except ImageError:
                continue


@pytest.mark.parametrize(("kind", "value"), [(1, b"\x06"), (2, b"6\0"), (4, 6)])
def test_orientation_of_a_deep_page_of_any_type(kind: int, value: object) -> None:
    count = len(value) if isinstance(value, bytes) else 1
    content = tiff(COLOUR.astype(np.uint16) * 257, photometric="rgb", extratags=[(274, kind, count, value, True)])
    assert difference(content, np.rot90(COLOUR, -1)) <= 1
