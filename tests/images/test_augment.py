from __future__ import annotations

import colorsys
import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageFilter
from pydantic import ValidationError

from crosslens.images import augment
from crosslens.images.augment import (
    Augmentation,
    Box,
    adjust_brightness,
    adjust_contrast,
    adjust_hue,
    adjust_saturation,
    color_jitter,
    random_crop_box,
    resized_crop,
)

STILL = {"jitter_p": 0, "grey_p": 0, "blur_p": 0, "flip_p": 0}
WHOLE = {"scale": (1.0, 1.0), "ratio": (1.0, 1.0)}


def noise(width: int, height: int) -> Image.Image:
    values = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(values)


def grey_of(pixels: np.ndarray) -> np.ndarray:
    """Pillow's luma, ITU-R 601 in integers: (H, W, 3) to (H, W)."""
    red, green, blue = (pixels[..., index].astype(np.int64) for index in range(3))
    return (red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16


class TestCropBox:
    @given(st.integers(1, 300), st.integers(1, 300), st.integers(0, 2**32))
    def test_always_inside(self, width: int, height: int, seed: int) -> None:
        box = random_crop_box(width, height, (0.2, 1.0), (3 / 4, 4 / 3), np.random.default_rng(seed))
        assert box.width >= 1
        assert box.height >= 1
        assert 0 <= box.left <= width - box.width
        assert 0 <= box.top <= height - box.height

    def test_area_and_ratio_stay_within_bounds_and_fill_them(self) -> None:
        rng = np.random.default_rng(0)
        boxes = [random_crop_box(1000, 1000, (0.2, 0.5), (3 / 4, 4 / 3), rng) for _ in range(4000)]
        share = np.array([box.width * box.height / 1e6 for box in boxes])
        ratio = np.log([box.width / box.height for box in boxes])
        assert share.min() > 0.198
        assert share.max() < 0.502
        assert np.abs(ratio).max() < math.log(4 / 3) + 0.01
        # Uniform in the area and in the logarithm of the ratio (nothing is rejected in this picture).
        assert np.allclose(np.quantile(share, [0.25, 0.5, 0.75]), [0.275, 0.35, 0.425], atol=0.01)
        assert np.allclose(np.quantile(ratio, [0.25, 0.75]), [-0.1438, 0.1438], atol=0.02)

    def test_place_is_uniform(self) -> None:
        rng = np.random.default_rng(1)
        boxes = [random_crop_box(100, 100, (0.25, 0.25), (1.0, 1.0), rng) for _ in range(4000)]
        assert {box.width for box in boxes} == {50}
        lefts = np.array([box.left for box in boxes])
        assert (lefts.min(), lefts.max()) == (0, 50)
        assert lefts.mean() == pytest.approx(25, abs=1)

    def test_too_wide_and_too_high_pictures_give_the_largest_centred_box(self) -> None:
        rng = np.random.default_rng(0)
        scale, ratio = (1.0, 1.0), (3 / 4, 4 / 3)
        assert random_crop_box(300, 60, scale, ratio, rng) == Box(110, 0, 80, 60)
        assert random_crop_box(60, 300, scale, ratio, rng) == Box(0, 110, 60, 80)

    def test_a_picture_within_the_ratio_is_taken_whole_when_no_try_fits(self) -> None:
        rng = np.random.default_rng(0)
        assert random_crop_box(100, 90, (4.0, 4.0), (3 / 4, 4 / 3), rng) == Box(0, 0, 100, 90)


def test_resized_crop_is_a_crop_and_a_bilinear_resize() -> None:
    image = noise(40, 30)
    expected = image.crop((5, 6, 25, 16)).resize((8, 8), Image.Resampling.BILINEAR)
    assert np.array_equal(np.asarray(resized_crop(image, Box(5, 6, 20, 10), 8)), np.asarray(expected))


class TestColours:
    @pytest.mark.parametrize("factor", [0.0, 0.6, 1.0, 1.4])
    def test_brightness_multiplies(self, factor: float) -> None:
        pixels = np.asarray(noise(20, 20))
        actual = np.asarray(adjust_brightness(noise(20, 20), factor)).astype(int)
        assert np.abs(actual - np.clip(pixels * factor, 0, 255)).max() <= 1

    @pytest.mark.parametrize("factor", [0.0, 0.6, 1.0, 1.4])
    def test_contrast_blends_with_the_mean_grey(self, factor: float) -> None:
        pixels = np.asarray(noise(20, 20))
        mean = int(grey_of(pixels).mean() + 0.5)
        actual = np.asarray(adjust_contrast(noise(20, 20), factor)).astype(int)
        assert np.abs(actual - np.clip(mean + factor * (pixels - float(mean)), 0, 255)).max() <= 1

    @pytest.mark.parametrize("factor", [0.0, 0.6, 1.0, 1.4])
    def test_saturation_blends_with_the_grey_picture(self, factor: float) -> None:
        pixels = np.asarray(noise(20, 20))
        grey = grey_of(pixels)[..., None]
        actual = np.asarray(adjust_saturation(noise(20, 20), factor)).astype(int)
        assert np.abs(actual - np.clip(grey + factor * (pixels - grey), 0, 255)).max() <= 1

    @pytest.mark.parametrize(
        ("colour", "shift", "expected"),
        [
            ((255, 0, 0), 1 / 3, (0, 255, 0)),
            ((255, 0, 0), -1 / 3, (0, 0, 255)),
            ((0, 0, 255), 1 / 3, (255, 0, 0)),
            ((255, 0, 0), 0.5, (0, 255, 255)),
            ((255, 0, 0), -0.5, (0, 255, 255)),
            ((90, 90, 90), 0.3, (90, 90, 90)),
        ],
    )
    def test_hue_of_known_colours(
        self, colour: tuple[int, int, int], shift: float, expected: tuple[int, int, int]
    ) -> None:
        shown = adjust_hue(Image.new("RGB", (1, 1), colour), shift).getpixel((0, 0))
        # One step of the 8-bit circle is 6 of 255 in a channel, and torchvision cuts 255 x shift to whole steps.
        assert np.abs(np.subtract(shown, expected)).max() <= 12

    @given(st.tuples(*[st.integers(0, 255)] * 3), st.floats(-0.5, 0.5))
    def test_hue_turns_the_circle_and_keeps_the_rest(self, colour: tuple[int, int, int], shift: float) -> None:
        hue, saturation, value = colorsys.rgb_to_hsv(*(channel / 255 for channel in colour))
        expected = colorsys.hsv_to_rgb((hue + shift) % 1, saturation, value)
        shown = adjust_hue(Image.new("RGB", (1, 1), colour), shift).getpixel((0, 0))
        assert np.abs(np.subtract(shown, [255 * channel for channel in expected])).max() <= 16

    def test_jitter_draws_each_factor_from_its_range_in_every_order(self, monkeypatch: pytest.MonkeyPatch) -> None:
        calls: list[tuple[str, float]] = []

        def recorder(name: str) -> Callable[[Image.Image, float], Image.Image]:
            return lambda image, factor: (calls.append((name, factor)), image)[1]

        for name in list(augment._ADJUST):
            monkeypatch.setitem(augment._ADJUST, name, recorder(name))
        rng = np.random.default_rng(0)
        for _ in range(2000):
            color_jitter(Image.new("RGB", (1, 1)), 0.4, 1.5, 0.2, 0.1, rng)
        ranges = {"brightness": (0.6, 1.4), "contrast": (0, 2.5), "saturation": (0.8, 1.2), "hue": (-0.1, 0.1)}
        for name, (low, high) in ranges.items():
            factors = np.array([factor for called, factor in calls if called == name])
            assert len(factors) == 2000
            assert low <= factors.min()
            assert factors.max() <= high
            assert factors.mean() == pytest.approx((low + high) / 2, abs=0.03 * (high - low))
            assert factors.std() == pytest.approx((high - low) / math.sqrt(12), rel=0.06)
        orders = [tuple(name for name, _ in calls[start : start + 4]) for start in range(0, len(calls), 4)]
        counts = np.array([orders.count(order) for order in set(orders)])
        assert len(counts) == 24
        assert counts.min() > 50


class TestView:
    def test_seed_decides_everything(self) -> None:
        image, recipe = noise(60, 50), Augmentation()
        views = [np.asarray(recipe.view(image, 24, np.random.default_rng(seed))) for seed in (3, 3, 4)]
        assert np.array_equal(views[0], views[1])
        assert not np.array_equal(views[0], views[2])
        assert views[0].shape == (24, 24, 3)

    def test_without_any_change_it_is_the_crop(self) -> None:
        image = noise(30, 30)
        view = Augmentation(**WHOLE, **STILL).view(image, 30, np.random.default_rng(0))
        assert np.array_equal(np.asarray(view), np.asarray(image))

    @pytest.mark.parametrize(("size", "side"), [((1, 400), 16), ((400, 1), 16), ((1, 1), 8)])
    def test_thin_pictures(self, size: tuple[int, int], side: int) -> None:
        assert Augmentation().view(noise(*size), side, np.random.default_rng(0)).size == (side, side)

    def test_each_change_happens_as_often_as_asked(self) -> None:
        """Probabilities of the papers' recipe, each change seen alone in 1,500 views."""
        image = noise(9, 9)
        pixels = np.asarray(image)
        seen = {
            "jitter_p": lambda view: not np.array_equal(view, pixels),
            "grey_p": lambda view: (view == view[..., :1]).all(),
            "blur_p": lambda view: not np.array_equal(view, pixels),
            "flip_p": lambda view: np.array_equal(view, pixels[:, ::-1]),
        }
        for name, happened in seen.items():
            probability = getattr(Augmentation(), name)
            recipe = Augmentation(**WHOLE, **{**STILL, name: probability}, blur=(0.5, 2.0))
            rng = np.random.default_rng(7)
            share = np.mean([happened(np.asarray(recipe.view(image, 9, rng))) for _ in range(1500)])
            assert share == pytest.approx(probability, abs=0.035), name

    def test_grey_is_the_luma(self) -> None:
        image = noise(12, 12)
        view = Augmentation(**WHOLE, **{**STILL, "grey_p": 1}).view(image, 12, np.random.default_rng(0))
        assert np.array_equal(np.asarray(view)[..., 1], grey_of(np.asarray(image)))

    def test_blur_is_pillows_with_a_radius_from_the_range(self) -> None:
        image = noise(12, 12)
        recipe = Augmentation(**WHOLE, **{**STILL, "blur_p": 1}, blur=(1.5, 1.5))
        view = recipe.view(image, 12, np.random.default_rng(0))
        assert np.array_equal(np.asarray(view), np.asarray(image.filter(ImageFilter.GaussianBlur(1.5))))

    @pytest.mark.parametrize(
        "wrong", [{"hue": 0.6}, {"flip_p": 1.1}, {"scale": (0.5, 0.2)}, {"ratio": (0.0, 1.0)}, {"colour": 1}]
    )
    def test_senseless_settings_are_refused(self, wrong: dict[str, object]) -> None:
        with pytest.raises(ValidationError):
            Augmentation(**wrong)
