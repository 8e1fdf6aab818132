from __future__ import annotations

import pytest

from crosslens.backbones.pretrained import preprocess_from
from crosslens.errors import BackboneError
from crosslens.images.preprocess import CLIP_MEAN, CLIP_STD, IMAGENET_MEAN, IMAGENET_STD, Preprocess

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
        ({"size": {"shortest_edge": 384}, "feature_extractor_type": "ConvNextX"}, (384, 384, True)),
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
