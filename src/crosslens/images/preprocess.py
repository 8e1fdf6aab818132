"""Preprocessing: what is done to a picture before a backbone sees it. Stored with every encoder and index."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from PIL import Image, ImageOps
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from crosslens.images.decode import DecodeMode, ImageSource, decode
from crosslens.images.picture import Picture

if TYPE_CHECKING:
    from numpy.typing import NDArray

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
HALF = (0.5, 0.5, 0.5)
"""Mean and standard deviation of SigLIP and of the first ViT."""

_FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


class Preprocess(BaseModel):
    """Resize the shorter side, centre-crop a square, normalise each channel (torchvision's evaluation recipe).

    Attributes:
        resize: shorter side in pixels after scaling; equal to ``crop`` with ``squash``.
        crop: side of the square in pixels.
        squash: scale to a square without keeping the aspect ratio.
        interpolation: Pillow's antialiased ``bilinear`` or ``bicubic``.
        mean, std: per channel, for values in [0, 1].
        decode: ``exact`` or ``fast`` (scaled JPEG decoding); see ``crosslens.images.decode``.
        invert: turn dark into light first, as some published protocols do with line drawings.
        margin: where an odd number of pixels is cut off, how many go at the left and the top: ``round`` to the
            nearest even half (torchvision), or ``floor`` (transformers' processors). One pixel in the scaled
            picture.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    resize: int = Field(256, ge=1)
    crop: int = Field(224, ge=1)
    squash: bool = False
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    decode: DecodeMode = "exact"
    invert: bool = False
    margin: Literal["round", "floor"] = "round"

    @model_serializer(mode="wrap")
    def _without_defaults(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # A fingerprint made before there were inversion and margins stays what it was.
        usual = {"invert": False, "margin": "round"}
        return {key: value for key, value in dump(self).items() if usual.get(key) != value}

    @model_validator(mode="after")
    def _crop_fits(self) -> Preprocess:
        if not self.squash and self.resize < self.crop:
            raise ValueError(f"a crop of {self.crop} pixels does not fit into a picture scaled to {self.resize}")
        return self

    def load(self, source: ImageSource | Picture, name: str | None = None) -> Image.Image:
        """Decode ``source`` in this mode to RGB; errors call it ``name``.

        Raises:
            ImageError: when it cannot be decoded.
        """
        image = decode(source, mode=self.decode, min_side=max(self.resize, self.crop), name=name)
        return ImageOps.invert(image) if self.invert else image

    def square(self, image: Image.Image) -> Image.Image:
        """Scale and crop an RGB image to ``crop`` x ``crop`` pixels.

        Both in one step, which gives the pixels of the two steps up to rounding, and up to the order of Pillow's
        two passes where a bicubic overshoot is clipped.
        """
        method = _FILTERS[self.interpolation]
        if self.squash:
            return image.resize((self.crop, self.crop), method)
        width, height = image.size
        short = min(width, height)
        new_width, new_height = int(self.resize * width / short), int(self.resize * height / short)
        split = round if self.margin == "round" else int
        left, top = split((new_width - self.crop) / 2), split((new_height - self.crop) / 2)
        # The crop's place in the unscaled image: what would be cut off is never computed, and a 90,000 x 1,000
        # strip cannot fill memory.
        x, y = width / new_width, height / new_height
        box = (left * x, top * y, min((left + self.crop) * x, width), min((top + self.crop) * y, height))
        return image.resize((self.crop, self.crop), method, box=box)

    def pixels(self, source: ImageSource | Picture) -> NDArray[np.uint8]:
        """Decode, scale and crop to ``(crop, crop, 3)`` uint8.

        Raises:
            ImageError: when it cannot be decoded.
        """
        return np.asarray(self.square(self.load(source)), dtype=np.uint8)

    def normalise(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """``(N, H, W, 3)`` uint8 to ``(N, 3, H, W)`` float32, ``(value / 255 - mean) / std``."""
        mean = np.asarray(self.mean, np.float32) * 255
        scale = 1 / (np.asarray(self.std, np.float32) * 255)
        values = (pixels.astype(np.float32) - mean) * scale
        return np.ascontiguousarray(values.transpose(0, 3, 1, 2))

    def __call__(self, sources: Sequence[ImageSource]) -> NDArray[np.float32]:
        """Preprocess a batch to ``(N, 3, crop, crop)`` float32.

        Raises:
            ImageError: naming the first image that cannot be decoded.
        """
        return self.normalise(np.stack([self.pixels(source) for source in sources]))
