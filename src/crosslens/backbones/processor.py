"""Image processors of transformers (``preprocessor_config.json``), translated into ``Preprocess``.

What a processor asks for and ``Preprocess`` cannot do is an error: a network fed with other pixels than it was
made for still gives vectors, only worse ones.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from crosslens.images.preprocess import Preprocess
from crosslens.support.errors import BackboneError

_RESAMPLE = {2: "bilinear", 3: "bicubic"}
# Processors that resize, crop, rescale and normalise, in this order, with these names for the settings.
_FAMILIES = re.compile(
    r"(CLIP|ChineseCLIP|Siglip|ViT|DeiT|Bit|Blip|ConvNext)(ImageProcessor|FeatureExtractor)(Fast|Pil)?"
)
_TRANSLATED = frozenset(
    {
        *("image_processor_type", "feature_extractor_type"),
        *("do_resize", "size", "default_to_square", "resample"),
        *("do_center_crop", "crop_size", "crop_pct"),
        *("do_rescale", "rescale_factor", "do_normalize", "image_mean", "image_std"),
    }
)
# Names, what is true of every picture here, and the form of the result.
_WITHOUT_EFFECT = re.compile(
    r"_?processor_class|_valid_processor_keys|auto_map|data_format|device|disable_grouping|do_convert_rgb"
    r"|input_data_format|return_tensors|tokenizer_class|transformers_version"
)


def preprocess_from(settings: Mapping[str, Any], default: Preprocess, what: str) -> Preprocess:
    """Translate an image processor's settings (transformers' ``preprocessor_config.json``).

    Args:
        settings: the JSON object; may be empty.
        default: the processor's own defaults, for keys that are absent.
        what: names the settings in messages.

    Raises:
        BackboneError: for a processor, a resampling, rescaling, geometry or any other setting that ``Preprocess``
            does not know.
    """
    kind = str(settings.get("image_processor_type") or settings.get("feature_extractor_type") or "")
    is_convnext = "ConvNext" in kind
    _require_known(settings, kind, what, is_convnext=is_convnext)
    resize, crop, squash = _geometry(settings, default, what, is_convnext=is_convnext)
    code = settings.get("resample")
    if code is not None and code not in _RESAMPLE:
        raise BackboneError(
            f"{what} resamples with Pillow's filter {code}; only 2 (bilinear) and 3 (bicubic) are known"
        )
    factor = _get_setting(settings, "rescale_factor", 1 / 255)
    if not _get_setting(settings, "do_rescale", True) or abs(factor * 255 - 1) > 1e-6:
        raise BackboneError(f"{what} does not scale pixels to [0, 1], which is the only scaling known")
    if not squash and crop > resize:
        raise BackboneError(f"{what} cuts {crop} pixels out of pictures of {resize}, which is not known here")
    normalises = _get_setting(settings, "do_normalize", True)
    mean = _get_setting(settings, "image_mean", default.mean)
    std = _get_setting(settings, "image_std", default.std)
    return Preprocess(
        resize=resize,
        crop=crop,
        squash=squash,
        interpolation=default.interpolation if code is None else _RESAMPLE[code],
        mean=_channels(mean, what) if normalises else (0.0, 0.0, 0.0),
        std=_channels(std, what) if normalises else (1.0, 1.0, 1.0),
    )


def require_side(name: str, preprocess: Preprocess, side: int) -> None:
    """Check that ``preprocess`` gives squares of ``side`` pixels.

    Raises:
        BackboneError: when it does not.
    """
    if preprocess.crop != side:
        raise BackboneError(
            f"{name} was made for images of {side} pixels, but its preprocessing gives {preprocess.crop}; correct"
            " preprocessor_config.json"
        )


def require_translated(
    settings: Mapping[str, Any], known: frozenset[str], what: str, usual: Mapping[str, Any] | None = None
) -> None:
    """Check that every setting of a published model is one that is read, or asks for nothing.

    Args:
        settings: the JSON object.
        known: names that are read.
        what: names the settings in messages.
        usual: names that are not read, and the one value each may have.

    Raises:
        BackboneError: naming the first other setting.
    """
    for name, value in settings.items():
        # Nothing, and "no", ask for nothing.
        if name in known or value is None or value is False or value == (usual or {}).get(name):
            continue
        raise BackboneError(f"{what} sets {name} to {value!r}, which is not known here")


def _require_known(settings: Mapping[str, Any], kind: str, what: str, *, is_convnext: bool) -> None:
    if kind and not _FAMILIES.fullmatch(kind):
        raise BackboneError(f"{what} is that of a {kind}, which is not known here")
    if not _get_setting(settings, "do_resize", True):
        raise BackboneError(
            f"{what} does not scale pictures (do_resize), but the network takes squares of one size"
        )
    plain = {name: value for name, value in settings.items() if not _WITHOUT_EFFECT.fullmatch(name)}
    require_translated(
        plain, _TRANSLATED if is_convnext else _TRANSLATED - {"crop_pct"}, what, {"num_channels": 3}
    )


def _geometry(
    settings: Mapping[str, Any], default: Preprocess, what: str, *, is_convnext: bool
) -> tuple[int, int, bool]:
    """``(resize, crop, squash)`` of an image processor."""
    size = settings.get("size")
    if size is None and (default.squash or is_convnext):
        return default.resize, default.crop, default.squash
    if size is None:
        size, settings = default.resize, {"crop_size": default.crop, **settings}
    if isinstance(size, int):
        is_square = _get_setting(settings, "default_to_square", default.squash and not is_convnext)
        size = {"height": size, "width": size} if is_square else {"shortest_edge": size}
    short = size.get("shortest_edge")
    if short is not None:
        require_translated(size, frozenset({"shortest_edge"}), f"the size in {what}")
    else:
        side = size.get("height")
        if side is None or side != size.get("width"):
            raise BackboneError(f"{what} scales pictures to {size}, not to a square or a shorter side")
        if settings.get("do_center_crop") and _side(settings.get("crop_size") or side, what) != side:
            raise BackboneError(f"{what} crops after scaling to a square, which is not known here")
        return side, side, True
    if is_convnext:
        if settings.get("do_center_crop") and _side(settings.get("crop_size") or short, what) != short:
            raise BackboneError(f"{what} crops twice, which is not known here")
        # This family names the side of the crop; from 384 on it scales without keeping the aspect ratio.
        if short >= 384:
            return short, short, True
        return int(short / _get_setting(settings, "crop_pct", 0.875)), short, False
    if not _get_setting(settings, "do_center_crop", not default.squash):
        # The network takes squares, so the central one is cut out.
        return short, short, False
    return short, _side(settings.get("crop_size") or short, what), False


def _get_setting(settings: Mapping[str, Any], name: str, usual: Any) -> Any:
    """A setting's value; ``usual`` where it is absent or null."""
    value = settings.get(name)
    return usual if value is None else value


def _side(size: Any, what: str) -> int:
    if isinstance(size, Mapping):
        if size.get("height") != size.get("width"):
            raise BackboneError(f"{what} crops {dict(size)}, which is no square")
        size = size.get("height")
    return int(size)


def _channels(value: Any, what: str) -> tuple[float, float, float]:
    channels = (value,) * 3 if isinstance(value, int | float) else tuple(value)
    if len(channels) != 3:
        raise BackboneError(f"{what} is for pictures of {len(channels)} channels, not 3")
    red, green, blue = channels
    return float(red), float(green), float(blue)
