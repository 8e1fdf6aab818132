from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from crosslens.images.decode import decode
from crosslens.images.preprocess import Preprocess
from crosslens.support.errors import ImageError

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def encoded(image: Image.Image, form: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def quadrants() -> Image.Image:
    """16 x 8 pixels: red, green over blue, white."""
    image = Image.new("RGB", (16, 8), WHITE)
    image.paste(RED, (0, 0, 8, 4))
    image.paste(GREEN, (8, 0, 16, 4))
    image.paste(BLUE, (0, 4, 8, 8))
    return image


def noise(width: int, height: int) -> Image.Image:
    values = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(values)


def png_header(width: int, height: int) -> bytes:
    """A PNG whose header promises pixels that are not there."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 10))
    return b"\x89PNG\r\n\x1a\n" + body + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("orientation", "undo"),
    [
        (2, Image.Transpose.FLIP_LEFT_RIGHT),
        (3, Image.Transpose.ROTATE_180),
        (4, Image.Transpose.FLIP_TOP_BOTTOM),
        (5, Image.Transpose.TRANSPOSE),
        (6, Image.Transpose.ROTATE_90),
        (7, Image.Transpose.TRANSVERSE),
        (8, Image.Transpose.ROTATE_270),
    ],
)
def test_every_exif_orientation_is_set_upright(orientation: int, undo: Image.Transpose) -> None:
    upright = quadrants()
    exif = Image.Exif()
    exif[0x0112] = orientation
    # What the camera stored: the picture turned so that the tag's operation brings it back.
    stored = upright.transpose(undo)
    shown = decode(encoded(stored, "PNG", exif=exif))
    assert shown.size == upright.size
    assert np.array_equal(np.asarray(shown), np.asarray(upright))


@pytest.mark.parametrize("length", range(6, 26, 3))
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_damaged_exif_does_not_cost_the_picture(length: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    assert decode(encoded(quadrants(), "JPEG", exif=exif.tobytes()[:length])).width in (16, 8)


def test_transparency_falls_on_white() -> None:
    half_red = Image.new("RGBA", (2, 1), (255, 0, 0, 128))
    half_red.putpixel((1, 0), (0, 0, 0, 0))
    shown = decode(encoded(half_red, "PNG"))
    assert shown.mode == "RGB"
    assert shown.getpixel((0, 0)) == (255, 127, 127)
    assert shown.getpixel((1, 0)) == WHITE


def drawn(ground: int, stroke: int, opacity: int) -> Image.Image:
    """A stroke on a transparent ground."""
    image = Image.new("RGBA", (40, 40), (ground, ground, ground, 0))
    image.paste((stroke, stroke, stroke, opacity), (10, 5, 14, 35))
    return image


@pytest.mark.parametrize(("stroke", "opacity"), [(255, 255), (250, 255), (255, 120)])
@pytest.mark.parametrize("form", ["PNG", "WEBP", "AVIF"])
def test_light_strokes_on_nothing_fall_on_black(form: str, stroke: int, opacity: int) -> None:
    shown = np.asarray(decode(encoded(drawn(255, stroke, opacity), form))).astype(int)
    assert shown[20, 30].max() <= 3
    assert abs(shown[20, 12].mean() - stroke * opacity / 255) <= 6


@pytest.mark.parametrize("mode", ["LA", "PA"])
def test_light_strokes_in_other_modes_fall_on_black(mode: str) -> None:
    image = drawn(255, 255, 255).convert("LA")
    content = encoded(image, "PNG") if mode == "LA" else encoded(drawn(255, 255, 255), "GIF")
    shown = np.asarray(decode(content))
    assert shown[20, 30].tolist() == [0, 0, 0]
    assert shown[20, 12].tolist() == [255, 255, 255]


def test_a_picture_of_nothing_stays_white_and_dark_strokes_fall_on_white() -> None:
    for empty in (Image.new("RGBA", (8, 8), (9, 9, 9, 0)), Image.new("LA", (8, 8), (0, 0))):
        assert np.asarray(decode(encoded(empty, "PNG"))).min() == 255
    shown = np.asarray(decode(encoded(drawn(255, 0, 255), "PNG")))
    assert (shown[20, 30, 0], shown[20, 12, 0]) == (255, 0)
    faint = np.asarray(decode(encoded(drawn(255, 200, 255), "PNG")))
    assert (faint[20, 30, 0], faint[20, 12, 0]) == (255, 200)


def bitmap(header: int, alpha: int) -> tuple[bytes, np.ndarray]:
    """A 32-bit BMP with a header of 40, 56, 108 or 124 bytes, and its colours."""
    colours = np.asarray(noise(24, 16))
    rows = np.dstack([colours[::-1, :, ::-1], np.full((16, 24), alpha, np.uint8)]).tobytes()
    masks = struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    kind = 0 if header == 40 else 3
    info = struct.pack("<IiiHHIIiiII", header, 24, 16, 1, 32, kind, len(rows), 2835, 2835, 0, 0)
    info = (info + (masks if kind else b"")).ljust(header, b"\0")
    start = 14 + header
    return b"BM" + struct.pack("<IHHI", start + len(rows), 0, 0, start) + info + rows, colours


@pytest.mark.parametrize("header", [40, 56, 108, 124])
def test_a_bitmap_whose_alpha_was_never_filled_in_is_opaque(header: int) -> None:
    for alpha in (0, 255):
        content, colours = bitmap(header, alpha)
        assert np.array_equal(np.asarray(decode(content)), colours)
        assert np.array_equal(np.asarray(decode(Image.open(io.BytesIO(content)))), colours)
    if header > 40:
        assert np.asarray(decode(bitmap(header, 128)[0])).mean() > 180


def test_transparent_grey_palette_and_single_colour_fall_on_white() -> None:
    grey = Image.new("LA", (1, 1), (0, 0))
    assert decode(encoded(grey, "PNG")).getpixel((0, 0)) == WHITE

    palette = Image.new("P", (2, 1))
    palette.putpalette([10, 20, 30, 40, 50, 60])
    palette.putpixel((1, 0), 1)
    shown = decode(encoded(palette, "PNG", transparency=0))
    assert (shown.getpixel((0, 0)), shown.getpixel((1, 0))) == (WHITE, (40, 50, 60))

    plain = Image.new("RGB", (2, 1), RED)
    plain.putpixel((1, 0), GREEN)
    shown = decode(encoded(plain, "PNG", transparency=RED))
    assert (shown.getpixel((0, 0)), shown.getpixel((1, 0))) == (WHITE, GREEN)


def test_sixteen_bit_grey_is_scaled() -> None:
    values = np.array([[0, 257, 32896, 65535]], dtype=np.uint16)
    assert np.asarray(decode(encoded(Image.fromarray(values), "PNG")))[0, :, 0].tolist() == [0, 1, 128, 255]


def test_transparent_value_of_sixteen_bit_grey_falls_on_white() -> None:
    values = np.array([[4000, 32896]], dtype=np.uint16)
    shown = decode(encoded(Image.fromarray(values), "PNG", transparency=4000))
    assert np.asarray(shown)[0, :, 0].tolist() == [255, 128]


@pytest.mark.parametrize(("top", "expected"), [(1.0, [0, 128, 255]), (255.0, [0, 128, 255])])
def test_float_tiff_in_either_range(top: float, expected: list[int]) -> None:
    values = np.array([[0.0, 0.5, 1.0]], dtype=np.float32) * top
    assert np.asarray(decode(encoded(Image.fromarray(values), "TIFF")))[0, :, 1].tolist() == expected


def test_nan_and_infinity_in_a_float_tiff_are_black_and_white() -> None:
    values = np.array([[np.nan, -np.inf, np.inf, 100]], dtype=np.float32)
    assert np.asarray(decode(encoded(Image.fromarray(values), "TIFF")))[0, :, 2].tolist() == [0, 0, 255, 100]


def test_cmyk_jpeg() -> None:
    ink = Image.new("CMYK", (8, 8), (0, 255, 255, 0))
    red, green, blue = decode(encoded(ink, "JPEG", quality=95)).getpixel((4, 4))
    assert red > 245
    assert max(green, blue) < 10


def test_first_frame_of_an_animation() -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in (RED, GREEN)]
    for form in ("GIF", "WEBP"):
        shown = decode(encoded(frames[0], form, save_all=True, append_images=frames[1:], lossless=True))
        assert shown.getpixel((0, 0)) == RED


def test_phone_pictures_with_a_second_frame() -> None:
    first, second = Image.new("RGB", (8, 8), RED), Image.new("RGB", (8, 8), GREEN)
    shown = decode(encoded(first, "MPO", save_all=True, append_images=[second]))
    assert shown.getpixel((0, 0))[0] > 250


@pytest.mark.parametrize("form", ["JPEG", "PNG"])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.9])
def test_truncated_files_are_refused(form: str, share: float) -> None:
    whole = encoded(noise(64, 64), form)
    with pytest.raises(ImageError, match=r"cannot be decoded|not an image"):
        decode(whole[: int(len(whole) * share)])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"empty \(0 bytes\)"),
        (b"hello, world", "is not an image"),
    ],
)
def test_what_is_no_image_is_refused_and_named(tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "picture.jpg"
    file.write_bytes(content)
    with pytest.raises(ImageError, match=message) as caught:
        decode(file)
    assert "picture.jpg" in str(caught.value)
    with pytest.raises(ImageError, match=message):
        decode(content)


def test_eps_is_never_opened() -> None:
    eps = encoded(Image.new("RGB", (4, 4)), "EPS")
    assert Image.open(io.BytesIO(eps)).format == "EPS"
    with pytest.raises(ImageError, match="is not an image"):
        decode(eps)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="does not exist"):
        decode(tmp_path / "no.png")
    with pytest.raises(ImageError, match="cannot be read: Is a directory"):
        decode(tmp_path)


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (PermissionError(13, "Permission denied"), "may not be read: permission denied"),
        (OSError(5, "Input/output error"), "cannot be read: Input/output error"),
    ],
)
def test_a_file_that_cannot_be_read_is_no_damaged_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: OSError, told: str
) -> None:
    def refuse(path: Path) -> bytes:
        raise fault

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(ImageError) as caught:
        decode(tmp_path / "shut.png")
    assert str(caught.value) == f"{tmp_path / 'shut.png'} {told}"


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("side", [10_000, 50_000])
def test_bombs_are_refused_by_their_header(side: int) -> None:
    with pytest.raises(ImageError, match="limit of 89 million"):
        decode(png_header(side, side))


def test_the_limit_is_the_callers() -> None:
    picture = encoded(noise(20, 20), "PNG")
    assert decode(picture, max_pixels=400).size == (20, 20)
    with pytest.raises(ImageError, match="20 x 20"):
        decode(picture, max_pixels=399)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_damaged_files_raise_nothing_but_image_errors() -> None:
    rng = np.random.default_rng(0)
    for form in ("JPEG", "PNG", "GIF", "TIFF", "WEBP", "BMP", "PPM"):
        whole = encoded(noise(16, 16), form)
        for _ in range(40):
            damaged = bytearray(whole)
            for place in rng.integers(0, min(len(whole), 300), 4):
                damaged[place] = rng.integers(0, 256)
            try:
                assert decode(bytes(damaged)).mode == "RGB"
            except ImageError:
                continue


def test_strip_of_thirty_thousand_pixels() -> None:
    strip = noise(30_000, 4)
    assert decode(encoded(strip, "PNG")).size == (30_000, 4)


def test_sources_are_equal(tmp_path: Path) -> None:
    file = tmp_path / "picture.png"
    quadrants().save(file)
    expected = np.asarray(quadrants())
    for source in (file, str(file), file.read_bytes(), quadrants()):
        assert np.array_equal(np.asarray(decode(source)), expected)


@pytest.mark.parametrize(("size", "short"), [((1600, 1200), 300), ((1200, 1601), 300), ((300, 200), 200)])
def test_fast_mode_keeps_the_shorter_side(size: tuple[int, int], short: int) -> None:
    picture = encoded(Image.new("RGB", size, RED), "JPEG")
    shown = decode(picture, mode="fast", min_side=256)
    assert min(shown.size) == short
    assert min(shown.size) >= min(256, *size)
    assert shown.width / shown.height == pytest.approx(size[0] / size[1], rel=0.01)


def test_fast_mode_scales_jpeg_only() -> None:
    picture = noise(700, 600)
    assert decode(encoded(picture, "PNG"), mode="fast", min_side=100).size == (700, 600)
    assert decode(encoded(picture, "JPEG"), mode="fast", min_side=100).size == (175, 150)


def test_decode_mode_reaches_the_decoder() -> None:
    picture = encoded(noise(800, 800), "JPEG")
    assert Preprocess(decode="fast").load(picture).size == (400, 400)
    assert Preprocess().load(picture).size == (800, 800)


def test_arrays_are_pictures_of_their_pixels() -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (5, 4, 4)).astype(np.uint8)
    assert (np.asarray(decode(pixels[..., :3])) == pixels[..., :3]).all()
    assert (np.asarray(decode(pixels[:, ::-1, 0])) == pixels[:, ::-1, :1]).all()
    assert decode(pixels).tobytes() == decode(Image.fromarray(pixels)).tobytes()


@pytest.mark.parametrize(
    "pixels",
    [np.zeros((4, 4, 3)), np.zeros((4, 4, 2), np.uint8), np.zeros((1, 4, 4, 3), np.uint8), np.zeros(4, np.uint8)],
)
def test_other_arrays_are_refused_without_their_numbers(pixels: np.ndarray) -> None:
    with pytest.raises(ImageError, match=r"is no picture; give uint8 of \(H, W\)") as refused:
        decode(pixels)
    assert len(str(refused.value)) < 120
    with pytest.raises(ImageError, match="no pixel"):
        decode(np.zeros((0, 4, 3), np.uint8))
