"""Parts of pictures."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from crosslens.images.region import Region
from crosslens.support.errors import ConfigError


def test_the_pixels_of_a_part_are_those_of_the_picture():
    pixels = np.arange(20 * 30 * 3, dtype=np.uint32).astype(np.uint8).reshape(20, 30, 3)
    cut = Region.of(["0.1", "0.25", "0.5", "0.5"]).cut(Image.fromarray(pixels))
    assert (np.asarray(cut) == pixels[5:15, 3:18]).all()


@given(st.floats(0, 0.999), st.floats(0, 0.999), st.floats(1e-9, 1), st.floats(1e-9, 1), st.integers(1, 40))
def test_a_part_is_never_empty_nor_larger_than_the_picture(x, y, width, height, side):
    region = Region.of((x, y, min(width, 1 - x), min(height, 1 - y)))
    cut = region.cut(Image.new("RGB", (side, 2 * side)))
    assert 1 <= cut.width <= side
    assert 1 <= cut.height <= 2 * side


def test_neighbouring_parts_meet_without_a_gap():
    picture = Image.new("L", (101, 7))
    widths = [Region.of((n / 10, 0, 1 / 10, 1)).cut(picture).width for n in range(10)]
    assert sum(widths) == 101


@pytest.mark.parametrize(
    "numbers", [(0, 0, 0, 1), (0.5, 0, 0.6, 1), (-0.1, 0, 0.5, 1), (0, 0, float("nan"), 1), (1, 0, 1, 1)]
)
def test_what_lies_outside_is_refused(numbers):
    with pytest.raises(ConfigError, match="does not lie inside"):
        Region.of(numbers)


@pytest.mark.parametrize("numbers", [(0, 0, 1), ("a", 0, 1, 1), "0.1", 5])
def test_what_is_no_region_is_refused(numbers):
    with pytest.raises(ConfigError, match="four numbers"):
        Region.of(numbers)
