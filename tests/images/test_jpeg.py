from __future__ import annotations

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from crosslens.images.decode import decode
from crosslens.support.errors import ImageError
from testing.picture_files import encoded, gradient

COLOUR = gradient()
NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8))
BASELINE = encoded(Image.fromarray(COLOUR), "JPEG", quality=95)
PROGRESSIVE = encoded(NOISE, "JPEG", quality=90, progressive=True)
RESTARTS = encoded(NOISE, "JPEG", quality=90, restart_marker_blocks=2)
WHOLE = {"baseline": BASELINE, "progressive": PROGRESSIVE, "restart markers": RESTARTS}

TRAILERS = {
    "nothing": b"",
    "half a marker": b"\xff",
    "zeros": bytes(100),
    "text": b"a trailer of some camera",
    "bytes 0xFF": b"SEFH\xff\xff\x12\x34\xff\xc8abc" * 5,
    "what looks like a comment": b"\xff\xfe\xff\xff\x00\x10",
    "fill bytes": b"\xff" * 40,
    "another picture": BASELINE,
}


@pytest.mark.parametrize("trailer", TRAILERS)
@pytest.mark.parametrize("kind", WHOLE)
def test_the_end_marker_may_be_missing_or_overwritten(kind: str, trailer: str) -> None:
    whole = WHOLE[kind]
    cut = whole[:-2] + TRAILERS[trailer]
    assert np.array_equal(np.asarray(decode(cut)), np.asarray(decode(whole)))
    fast = np.asarray(decode(whole, mode="fast", min_side=16))
    assert np.array_equal(np.asarray(decode(cut, mode="fast", min_side=16)), fast)


@pytest.mark.parametrize("kind", WHOLE)
@pytest.mark.parametrize("share", [0.3, 0.5, 0.7, 0.9, 0.98])
def test_missing_pixels_are_refused(kind: str, share: float) -> None:
    whole = WHOLE[kind]
    with pytest.raises(ImageError, match="cannot be decoded"):
        decode(whole[: int(len(whole) * share)])


def test_first_picture_of_several_without_its_end() -> None:
    pair = encoded(Image.fromarray(COLOUR), "MPO", save_all=True, append_images=[NOISE], quality=95)
    second = pair.index(b"\xff\xd8", 2)
    cut = pair[: second - 2] + pair[second:]
    assert np.abs(np.asarray(decode(cut)).astype(int) - np.asarray(decode(pair))).max() == 0


@pytest.mark.parametrize("shape", ["grey", "RGB"])
def test_twelve_bits_a_sample(shape: str) -> None:
    values = COLOUR.astype(np.uint16) * 16
    values = values if shape == "RGB" else np.ascontiguousarray(values[..., 2])
    content = imagecodecs.jpeg_encode(values, bitspersample=12, level=98)
    wanted = COLOUR if shape == "RGB" else COLOUR[..., 2:]
    assert np.abs(np.asarray(decode(content)).astype(int) - wanted).mean() <= 2
    with pytest.raises(ImageError, match="96 x 64 pixels"):
        decode(content, max_pixels=1000)


def segment(marker: int, data: bytes) -> bytes:
    return bytes((0xFF, marker)) + (len(data) + 2).to_bytes(2, "big") + data


SIDE_SEGMENTS = {
    "profile without a number": segment(0xE2, b"ICC_PROFILE\0"),
    "short JFIF": segment(0xE0, b"JFIF\0"),
    "short Adobe": segment(0xEE, b"Adobe"),
}


@pytest.mark.parametrize("damage", SIDE_SEGMENTS)
@pytest.mark.parametrize("kind", WHOLE)
def test_a_damaged_side_segment_changes_no_pixel(kind: str, damage: str) -> None:
    whole = WHOLE[kind]
    damaged = whole[:2] + SIDE_SEGMENTS[damage] + whole[2:]
    assert np.array_equal(np.asarray(decode(damaged)), np.asarray(decode(whole)))
    assert np.array_equal(np.asarray(decode(damaged[:-2])), np.asarray(decode(whole)))


def test_a_damaged_side_segment_leaves_the_orientation() -> None:
    exif = Image.Exif()
    exif[0x112] = 6
    turned = encoded(Image.fromarray(COLOUR), "JPEG", quality=95, exif=exif.tobytes())
    damaged = turned[:2] + SIDE_SEGMENTS["profile without a number"] + turned[2:]
    assert np.array_equal(np.asarray(decode(damaged)), np.asarray(decode(turned)))
