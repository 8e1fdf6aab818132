from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageCms

from crosslens.images.decode import decode
from crosslens.images.preprocess import Preprocess
from testing.picture_files import SRGB, encoded, gradient, profile, tiff

COLOUR = gradient()
PICTURE = Image.fromarray(COLOUR)
LINEAR = profile(SRGB, 1.0)
SWAPPED = profile([SRGB[2], SRGB[1], SRGB[0]], 2.2)
OWN = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def srgb_of_linear(values: np.ndarray) -> np.ndarray:
    """IEC 61966-2-1's transfer function, for values in [0, 255]."""
    x = values / 255
    return 255 * np.where(x <= 0.0031308, 12.92 * x, 1.055 * np.maximum(x, 1e-9) ** (1 / 2.4) - 0.055)


def shown(content: bytes, **options: object) -> np.ndarray:
    return np.asarray(decode(content, **options)).astype(float)


FORMS = [("PNG", {}), ("JPEG", {"quality": 100, "subsampling": 0}), ("WEBP", {"lossless": True}), ("TIFF", {})]


@pytest.mark.parametrize(("form", "options"), FORMS)
def test_linear_light_is_shown_as_it_was_meant(form: str, options: dict[str, object]) -> None:
    content = encoded(PICTURE, form, icc_profile=LINEAR, **options)
    assert np.abs(shown(content) - srgb_of_linear(COLOUR)).mean() <= 1.5
    assert np.abs(shown(content, mode="fast", min_side=64) - srgb_of_linear(COLOUR)).mean() <= 1.5


def test_primaries_are_those_of_the_profile() -> None:
    result = shown(encoded(PICTURE, "PNG", icc_profile=SWAPPED))
    straight = shown(encoded(Image.fromarray(COLOUR[..., ::-1].copy()), "PNG", icc_profile=profile(SRGB, 2.2)))
    assert np.abs(result - straight).max() <= 2


@pytest.mark.parametrize("own", [OWN, b"junk" * 50, b"", LINEAR[:200]])
def test_srgb_and_damaged_profiles_change_no_pixel(own: bytes) -> None:
    assert np.array_equal(shown(encoded(PICTURE, "PNG", icc_profile=own)), COLOUR)


def test_profiles_reach_deep_and_transparent_pictures() -> None:
    deep = tiff(COLOUR.astype(np.uint16) * 257, photometric="rgb", iccprofile=LINEAR)
    assert np.abs(shown(deep) - srgb_of_linear(COLOUR)).mean() <= 1
    layer = PICTURE.copy()
    layer.putalpha(Image.fromarray(np.where(np.arange(96) < 48, 0, 255).astype(np.uint8)[None].repeat(64, 0)))
    seen = shown(encoded(layer, "PNG", icc_profile=LINEAR))
    assert (seen[:, :48] == 255).all()
    assert np.abs(seen[:, 48:] - srgb_of_linear(COLOUR)[:, 48:]).mean() <= 1
    grey = shown(encoded(PICTURE.convert("L"), "PNG", icc_profile=LINEAR))
    assert np.abs(grey - srgb_of_linear(np.asarray(PICTURE.convert("L")))[..., None]).mean() <= 1


def test_a_profile_for_another_kind_of_picture_is_not_used() -> None:
    ink = PICTURE.convert("CMYK")
    content = encoded(ink, "TIFF", icc_profile=LINEAR)
    assert np.array_equal(shown(content), shown(encoded(ink, "TIFF")))


def test_preprocessing_sees_the_right_colours() -> None:
    content = encoded(PICTURE, "PNG", icc_profile=LINEAR)
    meant = Image.fromarray(np.rint(srgb_of_linear(COLOUR)).astype(np.uint8))
    preprocess = Preprocess(resize=32, crop=32)
    assert np.abs(preprocess.pixels(content).astype(int) - preprocess.pixels(meant)).mean() <= 1
