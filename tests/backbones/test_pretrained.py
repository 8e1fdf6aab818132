from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as few
from hypothesis import strategies as st
from PIL import Image

from crosslens.backbones.pretrained import Pretrained
from crosslens.backbones.processor import preprocess_from
from crosslens.images.preprocess import CLIP_MEAN, CLIP_STD, IMAGENET_MEAN, IMAGENET_STD, Preprocess
from crosslens.support.errors import BackboneError

CLIP = Preprocess(resize=224, crop=224, interpolation="bicubic", mean=CLIP_MEAN, std=CLIP_STD)
SQUARE = Preprocess(resize=224, crop=224, squash=True)
HALF = (0.5, 0.5, 0.5)

# Settings in the form of the named models' preprocessor_config.json, the kind's default, and what they mean.
PUBLISHED = {
    "openai/clip-vit-base-patch32": (
        {
            "crop_size": 224,
            "do_center_crop": True,
            "do_normalize": True,
            "do_resize": True,
            "feature_extractor_type": "CLIPFeatureExtractor",
            "image_mean": list(CLIP_MEAN),
            "image_std": list(CLIP_STD),
            "resample": 3,
            "size": 224,
        },
        CLIP,
        CLIP,
    ),
    "google/siglip-base-patch16-256": (
        {
            "do_normalize": True,
            "do_rescale": True,
            "do_resize": True,
            "image_mean": [0.5, 0.5, 0.5],
            "image_std": [0.5, 0.5, 0.5],
            "image_processor_type": "SiglipImageProcessor",
            "resample": 3,
            "rescale_factor": 0.00392156862745098,
            "size": {"height": 256, "width": 256},
        },
        SQUARE,
        Preprocess(resize=256, crop=256, squash=True, interpolation="bicubic", mean=HALF, std=HALF),
    ),
    "google/vit-base-patch16-224": (
        {
            "do_normalize": True,
            "do_resize": True,
            "image_mean": [0.5, 0.5, 0.5],
            "image_std": [0.5, 0.5, 0.5],
            "size": 224,
        },
        SQUARE,
        Preprocess(resize=224, crop=224, squash=True, mean=HALF, std=HALF),
    ),
    "facebook/dinov2-base": (
        {
            "crop_size": {"height": 224, "width": 224},
            "do_center_crop": True,
            "do_convert_rgb": True,
            "image_processor_type": "BitImageProcessor",
            "image_mean": list(IMAGENET_MEAN),
            "image_std": list(IMAGENET_STD),
            "resample": 3,
            "size": {"shortest_edge": 256},
        },
        Preprocess(),
        Preprocess(interpolation="bicubic"),
    ),
    "microsoft/resnet-50": (
        {
            "crop_pct": 0.875,
            "do_normalize": True,
            "do_resize": True,
            "feature_extractor_type": "ConvNextFeatureExtractor",
            "image_mean": list(IMAGENET_MEAN),
            "image_std": list(IMAGENET_STD),
            "resample": 3,
            "size": 224,
        },
        Preprocess(),
        Preprocess(interpolation="bicubic"),
    ),
}


@pytest.mark.parametrize("model", PUBLISHED)
def test_published_settings(model: str) -> None:
    settings, default, expected = PUBLISHED[model]
    assert preprocess_from(settings, default, model) == expected


@pytest.mark.parametrize("default", [CLIP, SQUARE, Preprocess()])
def test_nothing_said_is_the_default(default: Preprocess) -> None:
    assert preprocess_from({}, default, "x") == default


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"size": {"shortest_edge": 384}, "feature_extractor_type": "ConvNextFeatureExtractor"}, (384, 384, True)),
        ({"size": {"shortest_edge": 300}, "do_center_crop": False}, (300, 300, False)),
        ({"size": {"shortest_edge": 300}, "crop_size": 280}, (300, 280, False)),
        ({"size": {"height": 96, "width": 96}, "do_center_crop": True, "crop_size": 96}, (96, 96, True)),
    ],
)
def test_geometry(settings: dict[str, object], expected: tuple[int, int, bool]) -> None:
    preprocess = preprocess_from(settings, CLIP, "x")
    assert (preprocess.resize, preprocess.crop, preprocess.squash) == expected


def test_no_normalisation_and_single_numbers() -> None:
    preprocess = preprocess_from({"do_normalize": False}, CLIP, "x")
    assert (preprocess.mean, preprocess.std) == ((0, 0, 0), (1, 1, 1))
    assert preprocess_from({"image_mean": 0.5}, CLIP, "x").mean == HALF


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"resample": 1}, "Pillow's filter 1"),
        ({"rescale_factor": 1.0}, "does not scale pixels"),
        ({"do_rescale": False}, "does not scale pixels"),
        ({"size": {"longest_edge": 512}}, "not to a square or a shorter side"),
        ({"size": {"height": 224, "width": 196}}, "not to a square or a shorter side"),
        ({"crop_size": {"height": 224, "width": 196}, "size": 256}, "no square"),
        ({"crop_size": 224, "size": 200}, "cuts 224 pixels out of pictures of 200"),
        ({"size": {"height": 256, "width": 256}, "do_center_crop": True, "crop_size": 224}, "crops after scaling"),
    ],
)
def test_what_is_not_known_is_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(BackboneError, match=f"the preprocessing of m .*{message}"):
        preprocess_from(settings, CLIP, "the preprocessing of m")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"do_resize": False}, "does not scale pictures"),
        ({"do_pad": True}, "sets do_pad to True"),
        ({"pad_size": {"height": 256, "width": 256}}, "sets pad_size"),
        ({"do_flip_channel_order": True}, "sets do_flip_channel_order"),
        ({"rescale_offset": True}, "sets rescale_offset"),
        ({"crop_pct": 0.9}, "sets crop_pct"),
        ({"size": {"shortest_edge": 224, "longest_edge": 512}}, "sets longest_edge"),
        ({"image_processor_type": "LevitImageProcessor"}, "is that of a LevitImageProcessor"),
        ({"image_processor_type": "Siglip2ImageProcessor"}, "is that of a Siglip2ImageProcessor"),
        ({"image_mean": [0.5]}, "is for pictures of 1 channels"),
        ({"a_setting_of_tomorrow": 3}, "sets a_setting_of_tomorrow to 3"),
    ],
)
def test_no_setting_is_passed_over(settings: dict[str, object], message: str) -> None:
    with pytest.raises(BackboneError, match=f"the preprocessing of m {message}"):
        preprocess_from({"size": 224, "crop_size": 224, **settings}, CLIP, "the preprocessing of m")


def test_settings_that_ask_for_nothing_are_fine() -> None:
    nothing = {"do_pad": None, "pad_size": None, "do_flip_channel_order": False, "device": None, "resample": None}
    names = {"processor_class": "CLIPProcessor", "data_format": "channels_first", "do_convert_rgb": True}
    assert preprocess_from({**nothing, **names, "num_channels": 3}, CLIP, "x") == CLIP


def test_a_crop_is_taken_although_no_size_is_told() -> None:
    assert preprocess_from({"crop_size": 200}, CLIP, "x").crop == 200
    assert preprocess_from({"size": 224, "default_to_square": True}, CLIP, "x").squash


PROCESSORS = {
    "CLIPImageProcessor": {"size": {"shortest_edge": 30}, "crop_size": {"height": 23, "width": 23}},
    "BitImageProcessor": {"size": {"shortest_edge": 31}, "crop_size": {"height": 20, "width": 20}},
    "ConvNextImageProcessor": {"size": {"shortest_edge": 28}, "crop_pct": 0.875},
    "SiglipImageProcessor": {"size": {"height": 24, "width": 24}},
    "ViTImageProcessor": {"size": {"height": 24, "width": 24}, "resample": 2},
}


@pytest.mark.parametrize("name", PROCESSORS)
@given(width=st.integers(24, 90), height=st.integers(24, 90))
@few(max_examples=15)
def test_squares_are_those_of_transformers_own_processor(name: str, width: int, height: int) -> None:
    """Wherever the margins are odd, on noise, where a crop beside the right one differs everywhere.

    The noise leaves room for the overshoot of bicubic scaling, whose clipping depends on the order of passes.
    """
    asked = {"image_processor_type": name, "do_center_crop": "crop_size" in PROCESSORS[name], **PROCESSORS[name]}
    asked |= {"resample": 3, "image_mean": [0.4, 0.5, 0.6], "image_std": [0.2, 0.3, 0.4], **PROCESSORS[name]}
    picture = Image.fromarray(
        np.random.default_rng(width * 100 + height).integers(80, 176, (height, width, 3), np.uint8)
    )
    expected = processor_class(name)(**asked)(picture, return_tensors="np")["pixel_values"]
    with TemporaryDirectory() as folder:
        (Path(folder) / "config.json").write_text('{"model_type": "clip"}')
        (Path(folder) / "preprocessor_config.json").write_text(json.dumps(asked))
        preprocess = Pretrained("clip", folder, ("clip",)).preprocess(CLIP)
    found = preprocess([picture])
    # The two steps round to whole grey levels between them, the one step does not.
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() < 3.1 / 255 / 0.2


def processor_class(name: str) -> Any:
    """The processor that computes with Pillow and NumPy, which has needed a name of its own since release 5."""
    import transformers

    family = name.removesuffix("ImageProcessor").lower()
    try:
        module = import_module(f"transformers.models.{family}.image_processing_pil_{family}")
        return getattr(module, f"{name}Pil")
    except ImportError:
        return getattr(transformers, name)
