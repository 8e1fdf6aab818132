"""The augmentations of MoCo v2, UCDIR and UEM, with torchvision's parameter semantics, on Pillow images.

Every function takes its own ``numpy.random.Generator``, so a view depends on its seed alone and not on which
worker made it or in what order.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter, ImageOps
from pydantic import BaseModel, ConfigDict, Field, field_validator

Generator = np.random.Generator


class Augmentation(BaseModel):
    """Parameters of one random view (UCDIR ``main.py --aug-plus``, which is MoCo v2's recipe).

    Attributes:
        scale: range of the crop's share of the picture's area.
        ratio: range of the crop's width over height, drawn uniformly in the logarithm.
        brightness, contrast, saturation: factors are drawn from [max(0, 1 - x), 1 + x].
        hue: the shift is drawn from [-hue, hue], in turns of the colour circle (at most 0.5).
        jitter_p, grey_p, blur_p, flip_p: probabilities of colour jitter, grey, blur and mirror.
        blur: range of the Gaussian radius in pixels of the crop.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    scale: tuple[float, float] = (0.2, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    brightness: float = Field(0.4, ge=0)
    contrast: float = Field(0.4, ge=0)
    saturation: float = Field(0.4, ge=0)
    hue: float = Field(0.1, ge=0, le=0.5)
    jitter_p: float = Field(0.8, ge=0, le=1)
    grey_p: float = Field(0.2, ge=0, le=1)
    blur_p: float = Field(0.5, ge=0, le=1)
    blur: tuple[float, float] = (0.1, 2.0)
    flip_p: float = Field(0.5, ge=0, le=1)

    @field_validator("scale", "ratio", "blur")
    @classmethod
    def _is_range(cls, value: tuple[float, float]) -> tuple[float, float]:
        if not 0 < value[0] <= value[1]:
            raise ValueError(f"must be two positive numbers, the smaller first, not {value}")
        return value

    def view(self, image: Image.Image, size: int, rng: Generator) -> Image.Image:
        """One random view of an RGB image, ``size`` x ``size`` pixels.

        The order is the papers': crop, colour jitter, grey, blur, mirror.
        """
        box = random_crop_box(image.width, image.height, self.scale, self.ratio, rng)
        view = resized_crop(image, box, size)
        if rng.random() < self.jitter_p:
            view = color_jitter(view, self.brightness, self.contrast, self.saturation, self.hue, rng)
        if rng.random() < self.grey_p:
            view = ImageOps.grayscale(view).convert("RGB")
        if rng.random() < self.blur_p:
            view = view.filter(ImageFilter.GaussianBlur(radius=rng.uniform(*self.blur)))
        if rng.random() < self.flip_p:
            view = ImageOps.mirror(view)
        return view


@dataclass(frozen=True)
class Box:
    """A crop in pixels: left and top corner, width and height."""

    left: int
    top: int
    width: int
    height: int


def random_crop_box(
    width: int, height: int, scale: tuple[float, float], ratio: tuple[float, float], rng: Generator
) -> Box:
    """Draw the box of torchvision's ``RandomResizedCrop``.

    Ten tries draw an area (uniform in ``scale``, of the picture's) and an aspect ratio (log-uniform); a box that
    fits is placed uniformly. Failing that, the largest centred box within ``ratio`` is taken.
    """
    for _ in range(10):
        area = width * height * rng.uniform(*scale)
        aspect = math.exp(rng.uniform(math.log(ratio[0]), math.log(ratio[1])))
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            return Box(int(rng.integers(0, width - w + 1)), int(rng.integers(0, height - h + 1)), w, h)
    w, h = width, height
    if width / height < ratio[0]:
        h = round(w / ratio[0])
    elif width / height > ratio[1]:
        w = round(h * ratio[1])
    return Box((width - w) // 2, (height - h) // 2, w, h)


def resized_crop(image: Image.Image, box: Box, size: int) -> Image.Image:
    """Cut ``box`` out of ``image`` and scale it to ``size`` x ``size``, antialiased bilinear."""
    region = image.crop((box.left, box.top, box.left + box.width, box.top + box.height))
    return region.resize((size, size), Image.Resampling.BILINEAR)


def color_jitter(
    image: Image.Image, brightness: float, contrast: float, saturation: float, hue: float, rng: Generator
) -> Image.Image:
    """Torchvision's ``ColorJitter``: the four changes in random order, each with its own random strength."""
    strengths = {
        "brightness": rng.uniform(max(0.0, 1 - brightness), 1 + brightness),
        "contrast": rng.uniform(max(0.0, 1 - contrast), 1 + contrast),
        "saturation": rng.uniform(max(0.0, 1 - saturation), 1 + saturation),
        "hue": rng.uniform(-hue, hue),
    }
    names = list(strengths)
    for index in rng.permutation(4):
        name = names[int(index)]
        image = _ADJUST[name](image, float(strengths[name]))
    return image


def adjust_brightness(image: Image.Image, factor: float) -> Image.Image:
    """Multiply every value by ``factor`` (>= 0; 1 changes nothing, 0 is black)."""
    return ImageEnhance.Brightness(image).enhance(factor)


def adjust_contrast(image: Image.Image, factor: float) -> Image.Image:
    """Blend with the mean grey of the picture (0 is that grey, 1 changes nothing)."""
    return ImageEnhance.Contrast(image).enhance(factor)


def adjust_saturation(image: Image.Image, factor: float) -> Image.Image:
    """Blend with the grey picture (0 is grey, 1 changes nothing)."""
    return ImageEnhance.Color(image).enhance(factor)


def adjust_hue(image: Image.Image, shift: float) -> Image.Image:
    """Turn the colour circle by ``shift`` turns in [-0.5, 0.5], on 8-bit HSV with wrap-around."""
    hue, saturation, value = image.convert("HSV").split()
    turned = (np.asarray(hue, np.uint8).astype(np.int16) + np.int16(shift * 255)) % 256
    channels = (Image.fromarray(turned.astype(np.uint8)), saturation, value)
    return Image.merge("HSV", channels).convert("RGB")


_ADJUST = {
    "brightness": adjust_brightness,
    "contrast": adjust_contrast,
    "saturation": adjust_saturation,
    "hue": adjust_hue,
}
