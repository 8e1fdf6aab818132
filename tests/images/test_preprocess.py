from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError

from crosslens.images.preprocess import CLIP_MEAN, CLIP_STD, IMAGENET_MEAN, IMAGENET_STD, Preprocess
from crosslens.support.errors import ImageError


def noise(width: int, height: int) -> Image.Image:
    values = np.random.default_rng(width * 7919 + height).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(values)


def documented(image: Image.Image, resize: int, crop: int, method: Image.Resampling) -> Image.Image:
    """torchvision's Resize and CenterCrop as their documentation states them."""
    width, height = image.size
    if width <= height:
        scaled = image.resize((resize, int(resize * height / width)), method)
    else:
        scaled = image.resize((int(resize * width / height), resize), method)
    top = round((scaled.height - crop) / 2.0)
    left = round((scaled.width - crop) / 2.0)
    return scaled.crop((left, top, left + crop, top + crop))


@given(st.integers(1, 90), st.integers(1, 90), st.integers(0, 9), st.booleans())
def test_square_is_resize_and_centre_crop(width: int, height: int, margin: int, is_cubic: bool) -> None:
    interpolation, method = (
        ("bicubic", Image.Resampling.BICUBIC) if is_cubic else ("bilinear", Image.Resampling.BILINEAR)
    )
    # Mid-tones: where a bicubic overshoot is clipped, the order of Pillow's two passes shows.
    image = noise(width, height).point(lambda value: 80 + 3 * value // 8)
    actual = Preprocess(resize=14 + margin, crop=14, interpolation=interpolation).square(image)
    expected = documented(image, 14 + margin, 14, method)
    assert actual.size == (14, 14)
    # Each of the two passes may round to the other side.
    assert np.abs(np.asarray(actual, int) - np.asarray(expected, int)).max() <= 2


def test_squash_keeps_nothing_of_the_aspect_ratio() -> None:
    image = noise(90, 30)
    actual = Preprocess(resize=20, crop=20, squash=True, interpolation="bicubic").square(image)
    expected = image.resize((20, 20), Image.Resampling.BICUBIC)
    assert np.array_equal(np.asarray(actual), np.asarray(expected))


@pytest.mark.parametrize("size", [(90_000, 500), (3, 60_000), (30_000, 1), (1, 1)])
def test_strips_stay_small(size: tuple[int, int]) -> None:
    """A strip is never scaled as a whole: 90,000 x 500 would become 46,080 x 256."""
    assert Preprocess().square(Image.new("RGB", size, (9, 9, 9))).getcolors() == [(224 * 224, (9, 9, 9))]


def test_a_strip_gives_its_middle() -> None:
    image = Image.new("RGB", (90_000, 200), (255, 0, 0))
    image.paste((0, 0, 255), (44_500, 0, 45_500, 200))
    assert Preprocess().square(image).getcolors() == [(224 * 224, (0, 0, 255))]


@pytest.mark.parametrize(("mean", "std"), [(IMAGENET_MEAN, IMAGENET_STD), (CLIP_MEAN, CLIP_STD)])
def test_normalise(mean: tuple[float, float, float], std: tuple[float, float, float]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 5, 4, 3), dtype=np.uint8)
    actual = Preprocess(mean=mean, std=std).normalise(pixels)
    expected = ((pixels / 255.0 - np.array(mean)) / np.array(std)).transpose(0, 3, 1, 2)
    assert (actual.dtype, actual.shape) == (np.float32, (2, 3, 5, 4))
    assert np.allclose(actual, expected, atol=1e-5)


def test_call_does_all_of_it() -> None:
    preprocess = Preprocess(resize=16, crop=12)
    images = [noise(40, 30), noise(20, 50)]
    expected = preprocess.normalise(np.stack([np.asarray(preprocess.square(image)) for image in images]))
    assert np.array_equal(preprocess(images), expected)


def test_call_names_what_it_cannot_read() -> None:
    with pytest.raises(ImageError, match=r"no/such\.png"):
        Preprocess()([noise(4, 4), "no/such.png"])


def test_a_crop_larger_than_the_picture_is_refused() -> None:
    with pytest.raises(ValidationError, match="224 pixels does not fit"):
        Preprocess(resize=200, crop=224)


def test_settings_survive_json() -> None:
    preprocess = Preprocess(resize=384, crop=384, squash=True, mean=CLIP_MEAN, std=CLIP_STD, decode="fast")
    assert Preprocess.model_validate_json(preprocess.model_dump_json()) == preprocess
    with pytest.raises(ValidationError):
        Preprocess.model_validate({"reszie": 3})
