"""Models in transformers' format, from a local folder or the Hugging Face hub, loaded strictly.

Left to itself, transformers fills weights that a folder lacks with random numbers and logs a warning. Here that is
an error.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from crosslens.backbones.base import describe_faults
from crosslens.errors import BackboneError
from crosslens.files import read_json
from crosslens.images.preprocess import Preprocess

_RESAMPLE = {2: "bilinear", 3: "bicubic"}


class Pretrained:
    """A folder with ``config.json`` and weights, here or on the hub.

    Attributes:
        source: the local folder or the hub id, as transformers takes it.
        is_local: whether it is a folder.
        config: the content of ``config.json``.

    Raises:
        BackboneError: when there is no such folder, the hub cannot be reached, or the model is of another type.
    """

    def __init__(self, kind: str, source: str, types: tuple[str, ...]) -> None:
        if not source:
            raise BackboneError(f"{kind} needs a model folder or a hub id: {kind}:SOURCE")
        self.source = source
        self.is_local = Path(source).is_dir()
        if not self.is_local and (Path(source).exists() or not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", source)):
            raise BackboneError(f"{source} is not a folder; {kind} needs one with config.json and weights in it")
        file = self.file("config.json")
        if file is None:
            raise BackboneError(f"{source} has no config.json; {kind} needs a model in transformers' format")
        self.config = read_json(file, BackboneError)
        found = self.config.get("model_type")
        if found not in types:
            raise BackboneError(f"{source} holds a model of type {found!r}, but {kind} reads {' or '.join(types)}")

    def load(self, model_class: Any, **options: Any) -> Any:
        """The model in float32 and evaluation mode, without gradients, every weight read from the source.

        Weights that ``model_class`` has no use for, such as a classifier's, are ignored.

        Raises:
            BackboneError: listing weights that are missing or of another shape, or when files are damaged.
        """
        try:
            with _quiet(hide_progress=self.is_local):
                model, found = self._read(
                    model_class, output_loading_info=True, ignore_mismatched_sizes=True, **options
                )
        except Exception as error:
            # transformers, safetensors and the hub raise dozens of kinds; the reader needs one.
            raise BackboneError(f"the model {self.source} cannot be loaded: {error}") from error
        missing = [key for key in found["missing_keys"] if not key.endswith("num_batches_tracked")]
        shapes = [key if isinstance(key, str) else key[0] for key in found["mismatched_keys"]]
        if faults := describe_faults({"missing": sorted(missing), "of another shape": sorted(shapes)}):
            raise BackboneError(f"the weights of {self.source} do not fit its config.json: {faults}")
        return model.float().eval().requires_grad_(False)

    def preprocess(self, default: Preprocess) -> Preprocess:
        """What ``preprocessor_config.json`` says, and ``default`` for what it leaves open or when it is absent.

        Raises:
            BackboneError: when it asks for something that ``Preprocess`` cannot do.
        """
        settings: dict[str, Any] = {}
        for name in ("preprocessor_config.json", "processor_config.json"):
            file = self.file(name)
            if file is not None:
                content = read_json(file, BackboneError)
                # Newer processors keep the image part under a key of its own.
                settings = content.get("image_processor", content)
                break
        return preprocess_from(settings, default, f"the preprocessing of {self.source}")

    def file(self, name: str) -> Path | None:
        """A file of the model; None when the model has no such file.

        A hub's file is taken from the local cache, and fetched only when it is not there: what was downloaded
        once works without a network, and does not change under its fingerprint.

        Raises:
            BackboneError: when the hub has to be asked and cannot be reached, or has no such model.
        """
        if self.is_local:
            file = Path(self.source) / name
            return file if file.is_file() else None
        import huggingface_hub
        from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

        cached = huggingface_hub.try_to_load_from_cache(self.source, name)
        if isinstance(cached, str):
            return Path(cached)
        if cached is huggingface_hub._CACHED_NO_EXIST:
            return None
        try:
            return Path(huggingface_hub.hf_hub_download(self.source, name))
        except Exception as error:
            # A file that the hub lacks is an answer. That nothing could be asked is a subclass of it, and besides
            # there are no such repository, no permission, and the network library's own exceptions.
            if isinstance(error, EntryNotFoundError) and not isinstance(error, LocalEntryNotFoundError):
                return None
            reason = str(error).strip().split("\n")[0]
            raise BackboneError(
                f"{self.source} is neither a folder here nor reachable on the Hugging Face hub ({reason}). Where"
                " there is no network, download the model elsewhere and give its local folder"
            ) from error

    def _read(self, model_class: Any, **options: Any) -> Any:
        """``from_pretrained``, which asks the network only when the hub's cache lacks something."""
        try:
            return model_class.from_pretrained(self.source, local_files_only=True, **options)
        except OSError:
            if self.is_local:
                raise
            return model_class.from_pretrained(self.source, **options)


def preprocess_from(settings: Mapping[str, Any], default: Preprocess, what: str) -> Preprocess:
    """Translate an image processor's settings (transformers' ``preprocessor_config.json``).

    Args:
        settings: the JSON object; may be empty.
        default: the processor's own defaults, for keys that are absent.
        what: names the settings in messages.

    Raises:
        BackboneError: for a resampling, rescaling or geometry that ``Preprocess`` does not know.
    """
    kind = str(settings.get("image_processor_type") or settings.get("feature_extractor_type") or "")
    resize, crop, squash = _geometry(settings, default, what, is_convnext="ConvNext" in kind)
    code = settings.get("resample")
    if code is not None and code not in _RESAMPLE:
        raise BackboneError(
            f"{what} resamples with Pillow's filter {code}; only 2 (bilinear) and 3 (bicubic) are known"
        )
    factor = settings.get("rescale_factor", 1 / 255)
    if not settings.get("do_rescale", True) or abs(factor * 255 - 1) > 1e-6:
        raise BackboneError(f"{what} does not scale pixels to [0, 1], which is the only scaling known")
    if not squash and crop > resize:
        raise BackboneError(f"{what} cuts {crop} pixels out of pictures of {resize}, which is not known here")
    normalises = settings.get("do_normalize", True)
    return Preprocess(
        resize=resize,
        crop=crop,
        squash=squash,
        interpolation=default.interpolation if code is None else _RESAMPLE[code],
        mean=_channels(settings.get("image_mean", default.mean)) if normalises else (0.0, 0.0, 0.0),
        std=_channels(settings.get("image_std", default.std)) if normalises else (1.0, 1.0, 1.0),
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


def _geometry(
    settings: Mapping[str, Any], default: Preprocess, what: str, *, is_convnext: bool
) -> tuple[int, int, bool]:
    """``(resize, crop, squash)`` of an image processor."""
    size = settings.get("size")
    if size is None:
        return default.resize, default.crop, default.squash
    if isinstance(size, int):
        size = {"height": size, "width": size} if default.squash else {"shortest_edge": size}
    short = size.get("shortest_edge")
    if short is None:
        side = size.get("height")
        if side is None or side != size.get("width"):
            raise BackboneError(f"{what} scales pictures to {size}, not to a square or a shorter side")
        if settings.get("do_center_crop") and _side(settings.get("crop_size", side), what) != side:
            raise BackboneError(f"{what} crops after scaling to a square, which is not known here")
        return side, side, True
    if is_convnext:
        # This family names the side of the crop; from 384 on it scales without keeping the aspect ratio.
        return (
            (short, short, True) if short >= 384 else (int(short / settings.get("crop_pct", 0.875)), short, False)
        )
    if not settings.get("do_center_crop", not default.squash):
        # The network takes squares, so the central one is cut out.
        return short, short, False
    return short, _side(settings.get("crop_size", short), what), False


def _side(size: Any, what: str) -> int:
    if isinstance(size, Mapping):
        if size.get("height") != size.get("width"):
            raise BackboneError(f"{what} crops {dict(size)}, which is no square")
        size = size.get("height")
    return int(size)


def _channels(value: Any) -> tuple[float, float, float]:
    red, green, blue = (value,) * 3 if isinstance(value, int | float) else value
    return float(red), float(green), float(blue)


@contextmanager
def _quiet(*, hide_progress: bool) -> Iterator[None]:
    """Silence transformers' loading report, whose content ``Pretrained.load`` turns into errors."""
    from transformers.utils import logging

    level, shows_progress = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    if hide_progress:
        logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if shows_progress:
            logging.enable_progress_bar()
